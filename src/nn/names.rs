//! Other names for a model's entries: files of PyTorch and Hugging Face whose names or arrangements differ from ours.
//!
//! A name is parts between dots. In a pattern `*` stands for one part and `**` for any number of them; what they stand for
//! in one name is put in their places in the other.

use super::{Misfit, Params, StateDict};
use crate::{Error, Result, Tensor};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Pattern(Vec<String>);

impl Pattern {
    fn new(text: &str) -> Self {
        Pattern(text.split('.').map(str::to_owned).collect())
    }

    /// What the stars stand for in a name that fits.
    fn captures(&self, name: &str) -> Option<Vec<String>> {
        fn walk(pattern: &[String], parts: &[&str], found: &mut Vec<String>) -> bool {
            let Some((first, rest)) = pattern.split_first() else { return parts.is_empty() };
            let taken = match first.as_str() {
                "**" => 0..=parts.len(),
                _ if parts.is_empty() => return false,
                "*" => 1..=1,
                word => return word == parts[0] && walk(rest, &parts[1..], found),
            };
            for n in taken {
                let depth = found.len();
                found.push(parts[..n].join("."));
                if walk(rest, &parts[n..], found) {
                    return true;
                }
                found.truncate(depth);
            }
            false
        }
        let (parts, mut found) = (name.split('.').collect::<Vec<_>>(), vec![]);
        walk(&self.0, &parts, &mut found).then_some(found)
    }

    /// The name in which the stars stand for these.
    fn fill(&self, captures: &[String]) -> String {
        let mut captures = captures.iter();
        let parts = self.0.iter().map(|part| match part.as_str() {
            "*" | "**" => captures.next().map_or("", String::as_str),
            word => word,
        });
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }
}

/// How entries of the file make entries of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Same,
    /// A matrix, its axes exchanged.
    Transposed,
    /// One entry of the model is several of the file, one behind the other along an axis.
    Joined(usize),
    /// Several of the model are equal parts of one of the file along an axis.
    Parted(usize),
}

#[derive(Clone, Debug)]
struct Rule {
    ours: Vec<Pattern>,
    theirs: Vec<Pattern>,
    how: How,
    /// A name that older files have: read where the usual one is absent, never written.
    older: bool,
}

/// Where an entry of the model comes from.
struct Source {
    names: Vec<String>,
    how: How,
    /// Which part of a parted entry, of how many.
    part: (usize, usize),
}

impl Source {
    fn label(&self) -> String {
        let names = self.names.join(" with ");
        match self.how {
            How::Same | How::Joined(_) => names,
            How::Transposed => format!("{names} (transposed)"),
            How::Parted(_) => format!("{names} (part {} of {})", self.part.0 + 1, self.part.1),
        }
    }

    /// The model's tensor; an error in words where the file's cannot be so arranged.
    fn make(&self, found: &[&Tensor]) -> Result<Result<Tensor, String>> {
        let first = found[0];
        Ok(match self.how {
            How::Same => Ok(first.clone()),
            How::Transposed if first.rank() == 2 => Ok(first.transpose(0, 1)?.contiguous()?),
            How::Transposed => Err(format!("{} is not a matrix to be transposed", first.shape())),
            How::Joined(axis) => {
                let other = |t: &&Tensor| t.rank() != first.rank() || t.dtype() != first.dtype();
                let fits = |t: &&Tensor| (0..t.rank()).all(|i| i == axis || t.dims()[i] == first.dims()[i]);
                if axis >= first.rank() || found.iter().any(other) || !found.iter().all(fits) {
                    let shapes = found.iter().map(|t| t.shape().to_string()).collect::<Vec<_>>().join(" and ");
                    return Ok(Err(format!("{shapes} do not join along axis {axis}")));
                }
                Ok(Tensor::cat(found, axis as isize)?)
            }
            How::Parted(axis) => {
                let (part, count) = self.part;
                if axis >= first.rank() || !first.dims()[axis].is_multiple_of(count) {
                    return Ok(Err(format!("{} has no {count} equal parts along axis {axis}", first.shape())));
                }
                let length = first.dims()[axis] / count;
                Ok(first.narrow(axis as isize, part * length, length)?.contiguous()?)
            }
        })
    }
}

/// A table of the names (and arrangements) that a file has for a model's entries. Entries without a rule keep their names;
/// of several rules the first counts.
///
/// ```
/// # use warpsmith::{DType, Device, nn::{Linear, NameMap, Params}};
/// let params = Params::new(&Device::Cpu, DType::F32, 1);
/// Linear::new(&params.sub("layers.0"), 2, 3)?;
/// let names = NameMap::new()
///     .transpose("layers.*.weight", "blocks.*.kernel")
///     .rename("layers.*.bias", "blocks.*.offset");
/// let file = params.named_state_dict(&names)?;
/// assert_eq!(file.expect("blocks.0.kernel")?.dims(), [2, 3]);
/// params.load_named(&file, &names, "a file")?;
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct NameMap {
    rules: Vec<Rule>,
    ignored: Vec<Pattern>,
    prefix: Option<String>,
}

impl NameMap {
    /// Every entry under its own name.
    pub fn new() -> Self {
        Self::default()
    }

    fn rule(mut self, ours: &[&str], theirs: &[&str], how: How, older: bool) -> Self {
        let patterns = |names: &[&str]| names.iter().map(|name| Pattern::new(name)).collect();
        self.rules.push(Rule { ours: patterns(ours), theirs: patterns(theirs), how, older });
        self
    }

    /// The model's entry `ours` is called `theirs` in the file.
    pub fn rename(self, ours: &str, theirs: &str) -> Self {
        self.rule(&[ours], &[theirs], How::Same, false)
    }

    /// As [`rename`](NameMap::rename), for a name that only older files have: read where the usual one is absent.
    pub fn older(self, ours: &str, theirs: &str) -> Self {
        self.rule(&[ours], &[theirs], How::Same, true)
    }

    /// The model's matrix `ours` is the transpose of the file's `theirs`.
    pub fn transpose(self, ours: &str, theirs: &str) -> Self {
        self.rule(&[ours], &[theirs], How::Transposed, false)
    }

    /// The model's matrix is the transpose of the file's of the same name.
    pub fn transposed(self, name: &str) -> Self {
        self.transpose(name, name)
    }

    /// The model's entry `ours` is the file's entries `theirs`, one behind the other along `axis`; saved in equal parts.
    pub fn join(self, ours: &str, theirs: &[&str], axis: usize) -> Self {
        self.rule(&[ours], theirs, How::Joined(axis), false)
    }

    /// The model's entries `ours` are equal parts of the file's entry `theirs` along `axis`.
    pub fn part(self, ours: &[&str], theirs: &str, axis: usize) -> Self {
        self.rule(ours, &[theirs], How::Parted(axis), false)
    }

    /// Entries of the file that the model has no use for.
    pub fn ignore(mut self, theirs: &str) -> Self {
        self.ignored.push(Pattern::new(theirs));
        self
    }

    /// Files in which no name begins with `prefix.` have left it out: they hold the body of the model alone.
    pub fn optional_prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }

    /// Where an entry of the model comes from, the usual place first.
    fn sources(&self, ours: &str) -> Vec<Source> {
        let of_rule = |rule: &Rule| {
            let (part, captures) =
                rule.ours.iter().enumerate().find_map(|(i, pattern)| Some((i, pattern.captures(ours)?)))?;
            let names = rule.theirs.iter().map(|pattern| pattern.fill(&captures)).collect();
            Some((rule.older, Source { names, how: rule.how, part: (part, rule.ours.len()) }))
        };
        let (older, usual): (Vec<_>, Vec<_>) = self.rules.iter().filter_map(of_rule).partition(|(older, _)| *older);
        let own = Source { names: vec![ours.to_owned()], how: How::Same, part: (0, 1) };
        let usual = usual.into_iter().next().map_or(own, |(_, source)| source);
        [usual].into_iter().chain(older.into_iter().map(|(_, source)| source)).collect()
    }

    /// The same tensors under the file's names, arranged as the file has them: parameters or their gradients.
    ///
    /// # Errors
    /// [`Error::Argument`] where an entry cannot be so arranged, or parts of a joined one are absent.
    pub fn to_theirs(&self, ours: &StateDict) -> Result<StateDict> {
        let (mut out, mut parts) = (StateDict::new(), BTreeMap::<String, (usize, Vec<Option<Tensor>>)>::new());
        for (name, tensor) in ours.iter() {
            let source = self.sources(name).remove(0);
            let odd = |message: String| Error::argument("names", format!("{name}: {message}"));
            match source.how {
                How::Same | How::Transposed => {
                    let tensor = source.make(&[tensor])?.map_err(odd)?;
                    out.insert(&source.names[0], tensor);
                }
                How::Joined(axis) => {
                    for (part, their) in source.names.iter().enumerate() {
                        let piece = Source { names: vec![], how: How::Parted(axis), part: (part, source.names.len()) };
                        out.insert(their, piece.make(&[tensor])?.map_err(odd)?);
                    }
                }
                How::Parted(axis) => {
                    let (part, count) = source.part;
                    let entry = parts.entry(source.names[0].clone()).or_insert((axis, vec![None; count]));
                    entry.1[part] = Some(tensor.clone());
                }
            }
        }
        for (name, (axis, parts)) in parts {
            let odd = |message: String| Error::argument("names", format!("{name}: {message}"));
            let Some(parts) = parts.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else {
                return Err(odd("not all of its parts are there".into()));
            };
            let whole = Source { names: vec![], how: How::Joined(axis), part: (0, 1) };
            out.insert(&name, whole.make(&parts)?.map_err(odd)?);
        }
        Ok(out)
    }

    /// The file's entries under the model's names `ours`; what does not fit is noted in the file's names.
    fn to_ours(&self, file: &StateDict, ours: &[String], misfit: &mut Misfit) -> Result<StateDict> {
        let sources: Vec<Vec<Source>> = ours.iter().map(|name| self.sources(name)).collect();
        let wanted: BTreeSet<&str> =
            sources.iter().flatten().flat_map(|source| &source.names).map(String::as_str).collect();
        // A body without its prefix: its names get it, those of other parts are as they are.
        let shortened = self.prefix.as_ref().filter(|prefix| {
            let begin = format!("{prefix}.");
            !file.iter().any(|(name, _)| name.starts_with(&begin))
        });
        let full_name = |name: &str| match shortened {
            Some(prefix) if !wanted.contains(name) => format!("{prefix}.{name}"),
            _ => name.to_owned(),
        };
        let file: BTreeMap<String, (&str, &Tensor)> =
            file.iter().map(|(name, tensor)| (full_name(name), (name, tensor))).collect();
        let (mut out, mut used) = (StateDict::new(), BTreeSet::new());
        for (name, sources) in ours.iter().zip(&sources) {
            let there = |source: &&Source| source.names.iter().all(|name| file.contains_key(name));
            let Some(source) = sources.iter().find(there) else { continue };
            let found: Vec<&Tensor> = source.names.iter().map(|name| file[name].1).collect();
            used.extend(source.names.iter().map(String::as_str));
            match source.make(&found)? {
                Ok(tensor) => out.insert(name.as_str(), tensor),
                Err(message) => misfit.mismatched(&source.label(), &message),
            }
        }
        for (name, (given, _)) in &file {
            let ignored = self.ignored.iter().any(|pattern| pattern.captures(name).is_some());
            if !used.contains(name.as_str()) && !ignored {
                misfit.unexpected(given);
            }
        }
        Ok(out)
    }
}

impl Params {
    /// As [`load_state_dict`](Params::load_state_dict), from a file with names of its own. Strict: an error lists every
    /// missing, unexpected and mismatched entry, in the file's names, and then nothing was changed.
    pub fn load_named(&self, file: &StateDict, names: &NameMap, what: &str) -> Result<()> {
        let mut misfit = Misfit::default();
        let ours = names.to_ours(file, &self.names(), &mut misfit)?;
        let label = |name: &str| names.sources(name).remove(0).label();
        self.load_entries(&ours, what, true, misfit, &label)
    }

    /// As [`state_dict`](Params::state_dict), under a file's names.
    pub fn named_state_dict(&self, names: &NameMap) -> Result<StateDict> {
        names.to_theirs(&self.state_dict()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars_stand_for_parts() {
        let captures = |pattern: &str, name: &str| Pattern::new(pattern).captures(name);
        let found = |parts: &[&str]| Some(parts.iter().map(|part| part.to_string()).collect::<Vec<_>>());
        assert_eq!(captures("h.*.attn.weight", "h.11.attn.weight"), found(&["11"]));
        assert_eq!(captures("h.*.attn.weight", "h.11.attn.bias"), None);
        assert_eq!(captures("h.*", "h"), None);
        assert_eq!(captures("h.*", "h.1.2"), None);
        assert_eq!(captures("**.norm.*", "norm.weight"), found(&["", "weight"]));
        assert_eq!(captures("**.norm.*", "a.norm.b.norm.weight"), found(&["a.norm.b", "weight"]));
        assert_eq!(captures("a.**", "a"), found(&[""]));
        let pattern = Pattern::new("x.**.*.y");
        let captured = pattern.captures("x.1.2.3.y").unwrap();
        assert_eq!(Pattern::new("**.z.*").fill(&captured), "1.2.z.3");
        assert_eq!(Pattern::new("**.z.*").fill(&pattern.captures("x.3.y").unwrap()), "z.3");
    }
}
