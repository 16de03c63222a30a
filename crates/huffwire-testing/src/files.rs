//! Files of tensors, written by hand: what they hold, and in which order, is as the test says.

/// A tensor of a safetensors file: name, type, shape, bytes.
pub type Tensor<'a> = (&'a str, &'a str, &'a [usize], &'a [u8]);

/// A safetensors file with metadata, with blanks in its header, and with tensors in the order given.
#[must_use]
pub fn safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut header = r#"{"__metadata__":{"format":"pt","note":"ünïcode"}"#.to_owned();
    let (mut at, mut data) = (0, Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let end = at + bytes.len();
        header.push_str(&format!(
            r#", "{name}" : {{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
        data.extend_from_slice(bytes);
    }
    header.push_str("}   ");
    safetensors_of(&header, &data)
}

/// A safetensors file with any header, valid or not.
#[must_use]
pub fn safetensors_of(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

/// A `.npy` file of version 1.0 with this type string and this shape, valid or not.
#[must_use]
pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend_from_slice(&(header.len() as u16).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}
