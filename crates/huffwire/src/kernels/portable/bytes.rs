//! Byte kernels in portable safe Rust.

/// Bytes handled at a time: few enough that a byte can count them, so that the compiler makes vectors
/// of it.
const CHUNK: usize = 128;

pub(crate) fn histogram(bytes: &[u8]) -> [u32; 256] {
    // Four tables: neighbours that are equal would wait for each other's store.
    let mut tables = [[0u32; 256]; 4];
    let (quads, rest) = bytes.as_chunks::<4>();
    for quad in quads {
        for (table, &byte) in tables.iter_mut().zip(quad) {
            table[usize::from(byte)] += 1;
        }
    }
    for &byte in rest {
        tables[0][usize::from(byte)] += 1;
    }
    std::array::from_fn(|byte| tables.iter().map(|table| table[byte]).sum())
}

pub(crate) fn select(chosen: &[bool; 256], keys: &[u8], values: &[u8], out: &mut Vec<u8>) {
    for (keys, values) in keys.chunks(CHUNK).zip(values.chunks(CHUNK)) {
        // Most chunks have nothing to select: finding that out takes no branches.
        if keys.iter().fold(false, |any, &key| any | chosen[usize::from(key)]) {
            let pairs = keys.iter().zip(values);
            let selected = pairs.filter(|(key, _)| chosen[usize::from(**key)]);
            out.extend(selected.map(|(_, &value)| value));
        }
    }
}

pub(crate) fn compact(keys: &[u8], values: &mut Vec<u8>) {
    let mut kept = 0;
    for (index, &key) in keys.iter().enumerate().take(values.len()) {
        // Without a branch: zeros come as they like.
        values[kept] = values[index];
        kept += usize::from(key != 0);
    }
    values.truncate(kept);
}

pub(crate) fn expand(key: u8, other: bool, keys: &[u8], values: &[u8], out: &mut [u8]) -> usize {
    let mut due = 0;
    for (out, keys) in out.chunks_mut(CHUNK).zip(keys.chunks(CHUNK)) {
        let here: u8 = keys.iter().map(|&k| u8::from((k == key) != other)).sum();
        if here > 0 {
            let places = out.iter_mut().zip(keys).filter(|(_, k)| (**k == key) != other);
            for ((place, _), &value) in places.zip(values.get(due..).unwrap_or(&[])) {
                *place = value;
            }
            due += usize::from(here);
        }
    }
    due
}

pub(crate) fn replace(key: u8, values: &[u8], bytes: &mut [u8]) -> usize {
    let mut due = 0;
    for bytes in bytes.chunks_mut(CHUNK) {
        let here: u8 = bytes.iter().map(|&byte| u8::from(byte == key)).sum();
        if here > 0 {
            let places = bytes.iter_mut().filter(|byte| **byte == key);
            for (place, &value) in places.zip(values.get(due..).unwrap_or(&[])) {
                *place = value;
            }
            due += usize::from(here);
        }
    }
    due
}
