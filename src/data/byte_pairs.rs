//! Byte-pair encoding (Sennrich et al. 2016, on bytes as GPT-2 has it), by Hugging Face's `tokenizers`.

use crate::{Error, Result};
use std::path::Path;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Parts of words, learnt from text: every text can be encoded, and decoding gives it back.
///
/// Files are `tokenizer.json` as Hugging Face's libraries write and read them; any model in one is taken.
///
/// ```
/// use warpsmith::data::BytePairs;
/// let pairs = BytePairs::train(["low lower lowest", "new newer newest"], 270, &["<end>"])?;
/// let tokens = pairs.encode("newest low…")?;
/// assert!(tokens.len() < "newest low…".len());
/// assert_eq!(pairs.decode(&tokens)?, "newest low…");
/// assert_eq!(pairs.token("<end>"), Some(0));
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BytePairs {
    tokenizer: Tokenizer,
}

fn problem(e: tokenizers::Error) -> Error {
    Error::argument("BytePairs", e.to_string())
}

impl BytePairs {
    /// Learns up to `size` tokens (256 of them single bytes) from texts. `special` tokens come first and stand for
    /// themselves wherever they are in a text.
    pub fn train<T: AsRef<str> + Send>(
        texts: impl IntoIterator<Item = T, IntoIter: Send>,
        size: usize,
        special: &[&str],
    ) -> Result<Self> {
        let mut tokenizer = Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        let trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(size)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(special.iter().map(|token| AddedToken::from(*token, true)).collect())
            .build();
        let mut trainer = TrainerWrapper::from(trainer);
        tokenizer.train(&mut trainer, texts.into_iter()).map_err(problem)?;
        Ok(BytePairs { tokenizer })
    }

    /// Reads a `tokenizer.json`.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bad = |e: tokenizers::Error| Error::Format { what: path.display().to_string(), message: e.to_string() };
        Ok(BytePairs { tokenizer: Tokenizer::from_file(path).map_err(bad)? })
    }

    /// Writes a `tokenizer.json`.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bad = |e: tokenizers::Error| Error::Format { what: path.display().to_string(), message: e.to_string() };
        self.tokenizer.save(path, false).map_err(bad)
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a token, as it is written in the vocabulary.
    pub fn token(&self, text: &str) -> Option<i64> {
        self.tokenizer.token_to_id(text).map(i64::from)
    }

    /// The numbers of a text's tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(problem)?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// The text of these tokens, without special ones.
    pub fn decode(&self, tokens: &[i64]) -> Result<String> {
        let id = |&token: &i64| {
            let unknown = || Error::argument("BytePairs", format!("{token} is no token: there are {}", self.len()));
            u32::try_from(token).ok().filter(|&id| (id as usize) < self.len()).ok_or_else(unknown)
        };
        let ids = tokens.iter().map(id).collect::<Result<Vec<u32>>>()?;
        self.tokenizer.decode(&ids, true).map_err(problem)
    }
}
