//! What is analyzed: files of tensors.

use huffwire_io::{Input, Piece};

/// A file of tensors, or all files of a sharded model.
#[derive(Debug)]
pub struct File {
    /// What it is called in results.
    pub name: String,
    /// What [`Input::open`] found.
    pub inputs: Vec<Input>,
}

impl File {
    /// The inputs of a file, under a name for people.
    #[must_use]
    pub fn new(name: &str, inputs: Vec<Input>) -> Self {
        Self { name: name.to_owned(), inputs }
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&Input, &Piece)> {
        let pieces = self
            .inputs
            .iter()
            .flat_map(|input| input.pieces.iter().map(move |piece| (input, piece)));
        pieces.filter(|(_, piece)| piece.tensor.is_some())
    }
}
