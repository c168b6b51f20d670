//! 1.1 MB of Shakespeare's plays, as characters (see `examples/data/SOURCES.md`).

use warpsmith::random::{Philox, below};
use warpsmith::{Device, Error, Result, Tensor};

static FILE: &str = include_str!("../data/shakespeare.txt");

/// The distinct characters of a text, numbered in order.
#[derive(Clone)]
pub struct Characters {
    all: Vec<char>,
}

impl Characters {
    pub fn of(text: &str) -> Self {
        let mut all: Vec<char> = text.chars().collect();
        all.sort_unstable();
        all.dedup();
        Characters { all }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let number = |c: char| {
            let unknown = || Error::argument("text", format!("{c:?} is not among the {} characters known", self.len()));
            self.all.binary_search(&c).map(|at| at as i64).map_err(|_| unknown())
        };
        text.chars().map(number).collect()
    }

    pub fn decode(&self, tokens: &[i64]) -> String {
        tokens.iter().filter_map(|&token| self.all.get(usize::try_from(token).ok()?)).collect()
    }
}

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
