//! Text as numbers: characters and words, and windows over long texts.

use super::dataset::{Dataset, check_index};
use crate::random::Philox;
use crate::{Device, Error, Result, Tensor};
use std::collections::{BTreeMap, HashMap};

/// The distinct characters of a text, numbered in order.
///
/// ```
/// use warpsmith::data::Characters;
/// let characters = Characters::of("hello");
/// assert_eq!(characters.encode("hole")?, [1, 3, 2, 0]);
/// assert_eq!(characters.decode(&[1, 0, 2, 2, 3]), "hello");
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Characters {
    all: Vec<char>,
}

impl Characters {
    /// The characters of a text.
    pub fn of(text: &str) -> Self {
        let mut all: Vec<char> = text.chars().collect();
        all.sort_unstable();
        all.dedup();
        Characters { all }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The numbers of a text's characters; one that is not known is an error.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let number = |c: char| {
            let unknown = || Error::argument("text", format!("{c:?} is not among the {} characters known", self.len()));
            self.all.binary_search(&c).map(|at| at as i64).map_err(|_| unknown())
        };
        text.chars().map(number).collect()
    }

    /// The text of these numbers; those of no character are left out.
    pub fn decode(&self, tokens: &[i64]) -> String {
        tokens.iter().filter_map(|&token| self.all.get(usize::try_from(token).ok()?)).collect()
    }
}

/// What counts as a word, and which words a [`Words`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordsConfig {
    /// Whether capitals are made small, as by default.
    pub lowercase: bool,
    /// Whether marks that are neither letters, digits nor space are words of their own, as by default; otherwise they
    /// are left out.
    pub marks: bool,
    /// How often a word must be seen; once by default.
    pub min_count: usize,
    /// At most this many words besides padding and the unknown, the most frequent ones.
    pub max_words: Option<usize>,
}

impl Default for WordsConfig {
    fn default() -> Self {
        WordsConfig { lowercase: true, marks: true, min_count: 1, max_words: None }
    }
}

/// A vocabulary of words: runs of letters and digits, with apostrophes inside.
///
/// The more frequent a word, the smaller its number; 0 is padding and 1 every unknown word.
///
/// ```
/// use warpsmith::data::{Words, WordsConfig};
/// let texts = ["The cat sat.", "The dog didn't."];
/// let words = Words::of(texts, &WordsConfig { min_count: 1, ..Default::default() });
/// assert_eq!(words.encode("the cat, again"), [3, 4, 1, 1]);
/// assert_eq!(words.decode(&[3, 4, 2, 0]), "the cat .");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    all: Vec<String>,
    numbers: HashMap<String, i64>,
    config: WordsConfig,
}

impl Words {
    /// The number of padding.
    pub const PADDING: i64 = 0;
    /// The number of every word that is not known.
    pub const UNKNOWN: i64 = 1;

    /// The words of these texts.
    pub fn of(texts: impl IntoIterator<Item = impl AsRef<str>>, config: &WordsConfig) -> Self {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for text in texts {
            for word in split(text.as_ref(), config) {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= config.min_count).collect();
        // Stable: words seen equally often stay in alphabetical order.
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(config.max_words.unwrap_or(usize::MAX));
        Words::from_list(counts.into_iter().map(|(word, _)| word), config)
    }

    /// A vocabulary of these words, numbered from 2 on: one that [`list`](Words::list) gave.
    pub fn from_list(words: impl IntoIterator<Item = String>, config: &WordsConfig) -> Self {
        let all: Vec<String> = words.into_iter().collect();
        let numbers = all.iter().cloned().zip(2..).collect();
        Words { all, numbers, config: config.clone() }
    }

    /// The words from number 2 on, to be saved.
    pub fn list(&self) -> &[String] {
        &self.all
    }

    /// How many numbers there are, with padding and the unknown.
    pub fn len(&self) -> usize {
        self.all.len() + 2
    }

    /// Never: padding and the unknown are always there.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The numbers of a text's words.
    pub fn encode(&self, text: &str) -> Vec<i64> {
        split(text, &self.config).map(|word| self.numbers.get(&word).copied().unwrap_or(Self::UNKNOWN)).collect()
    }

    /// The words of these numbers with spaces between; padding is left out, the unknown is `?`.
    pub fn decode(&self, tokens: &[i64]) -> String {
        let word = |&token: &i64| match token {
            Self::PADDING => None,
            token => {
                let known = usize::try_from(token - 2).ok().and_then(|at| self.all.get(at));
                Some(known.map_or("?", String::as_str))
            }
        };
        tokens.iter().filter_map(word).collect::<Vec<_>>().join(" ")
    }
}

/// The words of a text.
fn split<'a>(text: &'a str, config: &'a WordsConfig) -> impl Iterator<Item = String> + 'a {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            let first = rest.chars().next()?;
            let end = if first.is_alphanumeric() { word_end(rest) } else { first.len_utf8() };
            let (word, after) = rest.split_at(end);
            rest = after;
            if first.is_alphanumeric() || config.marks {
                return Some(if config.lowercase { word.to_lowercase() } else { word.to_owned() });
            }
        }
    })
}

/// Where the word that a text begins with ends: an apostrophe belongs to it where a letter or digit follows.
fn word_end(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let inside = c.is_alphanumeric()
            || (c == '\'' || c == '’') && characters.peek().is_some_and(|(_, next)| next.is_alphanumeric());
        if !inside {
            return at;
        }
    }
    text.len()
}

/// Windows over a long row of tokens: each sample is `context` tokens and, for each, the one after it.
///
/// ```
/// use warpsmith::data::{DataLoader, Windows};
/// let windows = Windows::new((0..10).collect(), 3, 3)?;
/// let batch = DataLoader::new(windows, 2).epoch(0).next().expect("a batch")?;
/// assert_eq!(batch[0].to_vec2::<i64>()?, [[0, 1, 2], [3, 4, 5]]);
/// assert_eq!(batch[1].to_vec2::<i64>()?, [[1, 2, 3], [4, 5, 6]]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Windows {
    tokens: Vec<i64>,
    context: usize,
    stride: usize,
}

impl Windows {
    /// Windows that begin every `stride` tokens: `context` apart they do not overlap, 1 apart they are everywhere.
    pub fn new(tokens: Vec<i64>, context: usize, stride: usize) -> Result<Self> {
        if context == 0 || stride == 0 || tokens.len() <= context {
            let message = format!("windows of {context} every {stride} need more than {context} tokens and no zero");
            return Err(Error::argument("Windows", format!("{message}; there are {} tokens", tokens.len())));
        }
        Ok(Windows { tokens, context, stride })
    }

    /// (n, context) tokens of the windows' places, `shift` later.
    fn gather(&self, indices: &[usize], shift: usize) -> Result<Tensor> {
        let window = |&index: &usize| {
            let begin = index * self.stride + shift;
            &self.tokens[begin..begin + self.context]
        };
        let values: Vec<i64> = indices.iter().flat_map(window).copied().collect();
        Tensor::from_slice(&values, [indices.len(), self.context], &Device::Cpu)
    }
}

impl Dataset for Windows {
    fn len(&self) -> usize {
        (self.tokens.len() - 1 - self.context) / self.stride + 1
    }

    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>> {
        self.batch(&[index], std::slice::from_mut(rng))?.iter().map(|tensor| tensor.squeeze(0)).collect()
    }

    fn batch(&self, indices: &[usize], _: &mut [Philox]) -> Result<Vec<Tensor>> {
        indices.iter().try_for_each(|&index| check_index(index, self.len()))?;
        Ok(vec![self.gather(indices, 0)?, self.gather(indices, 1)?])
    }
}
