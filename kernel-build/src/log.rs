//! NVRTC's log, which carries the assembler's messages even when the status says success.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// What the assembler (`-Xptxas -v`) reports of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assembled {
    pub registers: u32,
    pub static_shared: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub entries: BTreeMap<String, Assembled>,
    pub warnings: String,
}

/// Reads a log.
///
/// # Errors
/// [`Error::Rule`] where it tells of a spill or of a C75xx message: wgmma serialised, waited for where it need not be,
/// or `setmaxnreg` ignored.
pub(crate) fn read(log: &str) -> Result<Report> {
    let mut report = Report::default();
    let mut current = String::new();
    for line in log.lines() {
        if let Some(code) = pipeline_code(line) {
            return Err(Error::Rule(format!("the assembler says {code}: {}", line.trim())));
        }
        if let Some(name) = between(line, "Compiling entry function '", "'") {
            current = name.to_owned();
        } else if let Some(name) = between(line, "Function properties for ", "\0") {
            // Also printed for functions that are not inlined, which may spill too.
            current = name.trim().to_owned();
        }
        let spilled = number_before(line, " bytes spill stores").max(number_before(line, " bytes spill loads"));
        if let Some(bytes @ 1..) = spilled {
            return Err(Error::Rule(format!(
                "{current} spills {bytes} bytes of registers to memory; make its tile smaller or raise the register \
                 budget in __launch_bounds__"
            )));
        }
        if let Some(registers) = number_before(line, " registers") {
            let static_shared = number_before(line, " bytes smem").unwrap_or(0);
            report.entries.insert(current.clone(), Assembled { registers, static_shared });
        }
        if line.contains("warning") {
            report.warnings.push_str(line.trim());
            report.warnings.push('\n');
        }
    }
    Ok(report)
}

/// `C7510` in `ptxas info : (C7510) Potential Performance Loss: …`.
fn pipeline_code(line: &str) -> Option<&str> {
    let at = line.match_indices("C75").map(|(at, _)| at).find(|&at| {
        let digits = line[at + 3..].bytes().take_while(u8::is_ascii_digit).count();
        let starts_word = !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        digits == 2 && starts_word
    })?;
    Some(&line[at..at + 5])
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, tail) = line.split_once(before)?;
    Some(tail.split(after).next().unwrap_or(tail))
}

/// The integer that ends where `after` begins.
fn number_before(line: &str, after: &str) -> Option<u32> {
    let head = &line[..line.find(after)?];
    let digits = head.len() - head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    head[head.len() - digits..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'sax' for 'sm_90a'
ptxas info    : Function properties for sax
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 1 barriers, 1024 bytes smem
ptxas info    : Compile time = 4.106 ms
";

    #[test]
    fn registers_and_shared_memory_are_read() {
        let report = read(GOOD).unwrap();
        assert_eq!(report.entries["sax"], Assembled { registers: 12, static_shared: 1024 });
        assert_eq!(report.warnings, "");
    }

    #[test]
    fn spills_and_pipeline_messages_are_errors() {
        for (from, to) in
            [("0 bytes spill stores", "40 bytes spill stores"), ("0 bytes spill loads", "8 bytes spill loads")]
        {
            let error = read(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains("sax spills"), "{error}");
        }
        let serialised = format!(
            "{GOOD}ptxas info : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized"
        );
        assert!(read(&serialised).unwrap_err().to_string().contains("C7510"));
        assert!(read(&format!("{GOOD}entry 'vC7510x'")).is_ok(), "a name is no message");
        assert!(read("a.cu(3): warning #177-D: unused").unwrap().warnings.contains("#177-D"));
    }
}
