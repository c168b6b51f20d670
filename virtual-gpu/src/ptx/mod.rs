//! The PTX front end: text to a syntax tree with registers and local variables resolved.
//!
//! An opcode is kept as a root and a bag of modifiers, because emitters disagree on their order; what a modifier
//! means is decided by the machine's decoder. Debug sections are skipped, `.loc` and `.file` are kept.

mod ast;
mod cursor;
mod expr;
mod link;
mod parser;
mod types;

pub use ast::*;
pub use cursor::LineMap;
pub use link::link;
pub use parser::{SyntaxError, parse};
pub use types::{Space, Ty};
