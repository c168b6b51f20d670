//! 1.1 MB of Shakespeare's plays, as characters (see `examples/data/SOURCES.md`).

pub use warpsmith::data::Characters;

use warpsmith::random::{Philox, below};
use warpsmith::{Device, Result, Tensor};

static FILE: &str = include_str!("../data/shakespeare.txt");

/// A text cut in two: the first nine tenths are for training, the rest for validation.
pub struct Text {
    pub characters: Characters,
    pub training: Vec<i64>,
    pub validation: Vec<i64>,
}

impl Text {
    pub fn new(text: &str) -> Result<Self> {
        let characters = Characters::of(text);
        let mut training = characters.encode(text)?;
        let validation = training.split_off(training.len() / 10 * 9);
        Ok(Text { characters, training, validation })
    }
}

pub fn load() -> Result<Text> {
    Text::new(FILE)
}

/// Windows of `context` tokens from these places, and for each token the next one: (B, T) and (B·T).
pub fn windows(tokens: &[i64], places: &[usize], context: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let take = |shift: usize| -> Vec<i64> {
        places.iter().flat_map(|&at| &tokens[at + shift..at + shift + context]).copied().collect()
    };
    let inputs = Tensor::from_vec(take(0), [places.len(), context], device)?;
    Ok((inputs, Tensor::from_vec(take(1), places.len() * context, device)?))
}

/// `count` places where a window of `context` tokens and its next one begin.
pub fn places(tokens: &[i64], context: usize, count: usize, rng: &mut Philox) -> Vec<usize> {
    (0..count).map(|_| below(rng, (tokens.len() - context) as u64) as usize).collect()
}
