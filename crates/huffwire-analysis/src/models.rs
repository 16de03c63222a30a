//! Telling files of different models apart, so that nothing is averaged that does not belong together.

use std::collections::{BTreeMap, BTreeSet};

use huffwire::Dtype;

use crate::input::File;
use crate::options::Options;

/// The shapes that a file has of each kind: dimensions and the length of the last one. Other lengths may differ between
/// steps of one model: numbers of tokens, vocabularies that grew.
type Shapes = BTreeMap<(String, Dtype), BTreeSet<(usize, u64)>>;

/// The number of each file's model, counted from 0 in the order of the files. Files are of different models when there is a
/// kind of tensors that both have, but in no common shape.
pub(crate) fn models(files: &[&File<'_>], options: &Options) -> Vec<usize> {
    let mut models: Vec<Shapes> = Vec::new();
    let numbers = files.iter().map(|file| {
        let shapes = shapes(file, options);
        let place = models.iter().position(|model| belong_together(model, &shapes));
        let number = place.unwrap_or(models.len());
        if number == models.len() {
            models.push(Shapes::new());
        }
        for (kind, shapes) in shapes {
            models[number].entry(kind).or_default().extend(shapes);
        }
        number
    });
    numbers.collect()
}

fn shapes(file: &File<'_>, options: &Options) -> Shapes {
    let mut shapes = Shapes::new();
    for tensor in file.tensors() {
        let key = (options.kind(&tensor.info.name), tensor.dtype);
        let shape = &tensor.info.shape;
        let shape = (shape.len(), shape.last().copied().unwrap_or(1));
        shapes.entry(key).or_default().insert(shape);
    }
    shapes
}

fn belong_together(model: &Shapes, file: &Shapes) -> bool {
    file.iter().all(|(kind, shapes)| model.get(kind).is_none_or(|known| !known.is_disjoint(shapes)))
}
