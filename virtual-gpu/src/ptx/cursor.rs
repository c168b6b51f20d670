//! A cursor over the source bytes: white space, comments, words and line numbers.

use super::ast::Pos;
use super::parser::SyntaxError;

/// Maps byte offsets to lines and columns.
#[derive(Debug, Clone)]
pub struct LineMap {
    starts: Vec<u32>,
}

impl LineMap {
    /// Finds the lines of a text.
    pub fn new(text: &str) -> LineMap {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(k, _)| k as u32 + 1));
        LineMap { starts }
    }

    /// Line and column, both from 1.
    pub fn locate(&self, pos: Pos) -> (u32, u32) {
        let line = self.starts.partition_point(|s| *s <= pos).max(1);
        (line as u32, pos - self.starts[line - 1] + 1)
    }
}

/// The cursor.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub text: &'a str,
    pub at: usize,
}

pub(super) fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b == b'%'
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { pos: self.at as Pos, message: message.into() })
    }

    /// Skips white space and comments.
    pub fn skip(&mut self) {
        let b = self.bytes();
        loop {
            match b.get(self.at) {
                Some(c) if c.is_ascii_whitespace() => self.at += 1,
                Some(b'/') if b.get(self.at + 1) == Some(&b'/') => self.skip_line(),
                Some(b'/') if b.get(self.at + 1) == Some(&b'*') => {
                    self.at = self.text[self.at + 2..].find("*/").map_or(b.len(), |k| self.at + 2 + k + 2);
                }
                _ => return,
            }
        }
    }

    /// Skips to the end of the line.
    pub fn skip_line(&mut self) {
        let b = self.bytes();
        while self.at < b.len() && b[self.at] != b'\n' {
            self.at += 1;
        }
    }

    /// The next byte that is not white space, or 0 at the end.
    pub fn peek(&mut self) -> u8 {
        self.skip();
        self.raw()
    }

    /// The byte at the cursor, or 0 at the end.
    pub fn raw(&self) -> u8 {
        self.raw_at(0)
    }

    pub fn raw_at(&self, ahead: usize) -> u8 {
        self.bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Takes a byte if it comes next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let hit = self.peek() == byte && byte != 0;
        self.at += usize::from(hit);
        hit
    }

    pub fn expect(&mut self, byte: u8) -> Result<(), SyntaxError> {
        if self.eat(byte) {
            return Ok(());
        }
        let found = self.text[self.at..].chars().next().map_or("the end of the text".into(), |c| format!("'{c}'"));
        self.error(format!("expected '{}', found {found}", byte as char))
    }

    /// Takes a word of letters, digits, `_`, `$`, `%`; empty if none is next.
    pub fn word(&mut self) -> &'a str {
        self.skip();
        let start = self.at;
        while is_word(self.raw()) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Takes an identifier.
    pub fn identifier(&mut self) -> Result<&'a str, SyntaxError> {
        self.skip();
        if self.raw().is_ascii_digit() || !is_word(self.raw()) {
            let found = self.text[self.at..].chars().next().map_or("the end of the text".into(), |c| format!("'{c}'"));
            return self.error(format!("expected a name, found {found}"));
        }
        Ok(self.word())
    }

    /// Takes `.word` where the dot is next; the word may hold `::`.
    pub fn dotted(&mut self) -> Option<&'a str> {
        if self.peek() != b'.' || !is_word(self.raw_at(1)) {
            return None;
        }
        self.at += 1;
        let start = self.at;
        loop {
            if is_word(self.raw()) {
                self.at += 1;
            } else if self.raw() == b':' && self.raw_at(1) == b':' && is_word(self.raw_at(2)) {
                self.at += 2;
            } else {
                break;
            }
        }
        Some(&self.text[start..self.at])
    }

    /// Takes a quoted string.
    pub fn string(&mut self) -> Result<&'a str, SyntaxError> {
        self.expect(b'"')?;
        let start = self.at;
        while self.raw() != b'"' {
            if self.raw() == 0 {
                return self.error("the string does not end");
            }
            self.at += if self.raw() == b'\\' && self.raw_at(1) != 0 { 2 } else { 1 };
        }
        let text = self.text.get(start..self.at);
        self.at += 1;
        match text {
            Some(text) => Ok(text),
            None => self.error("the string holds a broken character"),
        }
    }
}
