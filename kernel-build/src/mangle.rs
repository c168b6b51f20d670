//! Parameter types, read out of mangled names.
//!
//! PTX knows a pointer only as 64 bits; the mangled name of a C++ kernel says what it points to and whether that is
//! `const`. The subset of the Itanium C++ ABI ("Mangling") that kernels need is read: functions and templates in
//! namespaces, with arguments of number, pointer and class types. A name outside it keeps its parameters untyped.

use crate::image::{ParamType, Scalar};

/// A kernel's readable name and the types of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub name: String,
    pub params: Vec<ParamType>,
}

/// Reads a mangled name; `None` where it is not mangled or uses what is outside the subset.
pub(crate) fn signature(symbol: &str) -> Option<Signature> {
    let mut parser = Parser { rest: symbol.strip_prefix("_Z")?, substitutions: Vec::new(), arguments: Vec::new() };
    let (name, template) = parser.function_name()?;
    if template {
        // A template's encoding names its return type first.
        parser.ty()?;
    }
    let mut params = Vec::new();
    while !parser.rest.is_empty() {
        let ty = parser.ty()?;
        if ty.shape != Shape::Void {
            params.push(ty.param());
        }
    }
    Some(Signature { name, params })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Void,
    Number(Scalar),
    Pointer { to: Option<Scalar>, mutable: bool },
    TensorMap,
    Class,
}

#[derive(Clone, Debug)]
struct Ty {
    text: String,
    shape: Shape,
    constant: bool,
}

impl Ty {
    fn class(text: String) -> Self {
        let shape = match text.as_str() {
            "f16" | "__half" => Shape::Number(Scalar::F16),
            "bf16" | "__nv_bfloat16" => Shape::Number(Scalar::Bf16),
            // The driver's header has the second, behind a typedef.
            "CUtensorMap" | "CUtensorMap_st" => Shape::TensorMap,
            _ => Shape::Class,
        };
        Self { text, shape, constant: false }
    }

    fn param(&self) -> ParamType {
        match self.shape {
            Shape::Number(scalar) => ParamType::Scalar(scalar),
            Shape::Pointer { to, mutable } => ParamType::Pointer { to, mutable },
            Shape::TensorMap => ParamType::TensorMap,
            Shape::Void | Shape::Class => ParamType::Bytes,
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    /// What `S_`, `S0_` … stand for.
    substitutions: Vec<Ty>,
    /// What `T_`, `T0_` … stand for.
    arguments: Vec<Ty>,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// `8identify`: a length and as many characters.
    fn identifier(&mut self) -> Option<String> {
        let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length: usize = self.rest[..digits].parse().ok()?;
        let end = digits.checked_add(length)?;
        let name = self.rest.get(digits..end)?.to_owned();
        self.rest = &self.rest[end..];
        Some(name)
    }

    /// The index in `S_` (0), `S0_` (1), `SA_` (11); the leading letter is already eaten.
    fn sequence(&mut self) -> Option<usize> {
        let mut value: Option<usize> = None;
        loop {
            match self.next()? {
                '_' => return Some(value.map_or(0, |value| value + 1)),
                digit => {
                    let digit = digit.to_digit(36)? as usize;
                    value = Some(value.unwrap_or(0).checked_mul(36)?.checked_add(digit)?);
                }
            }
        }
    }

    /// The function's name, and whether it is a template.
    fn function_name(&mut self) -> Option<(String, bool)> {
        if self.eat("N") {
            let mut name = self.identifier()?;
            let mut template = false;
            loop {
                if self.eat("E") {
                    break;
                }
                self.substitutions.push(Ty::class(name.clone()));
                if self.eat("I") {
                    self.arguments = self.template_arguments()?;
                    name = instance(&name, &self.arguments);
                    template = true;
                } else {
                    name = format!("{name}::{}", self.identifier()?);
                    template = false;
                }
            }
            return Some((name, template));
        }
        let name = self.identifier()?;
        if self.eat("I") {
            self.substitutions.push(Ty::class(name.clone()));
            self.arguments = self.template_arguments()?;
            return Some((instance(&name, &self.arguments), true));
        }
        Some((name, false))
    }

    fn template_arguments(&mut self) -> Option<Vec<Ty>> {
        let mut arguments = Vec::new();
        while !self.eat("E") {
            arguments.push(if self.eat("L") { self.literal()? } else { self.ty()? });
        }
        Some(arguments)
    }

    /// `Li256E`, `Lb1E`, `L4Mode2E`; a negative number is written with an `n`.
    fn literal(&mut self) -> Option<Ty> {
        let ty = self.ty()?;
        let negative = self.eat("n");
        let end = self.rest.find('E')?;
        let digits = &self.rest[..end];
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let text = match (ty.text.as_str(), digits) {
            ("bool", "0") => "false".to_owned(),
            ("bool", "1") => "true".to_owned(),
            _ => format!("{}{digits}", if negative { "-" } else { "" }),
        };
        self.rest = &self.rest[end + 1..];
        Some(Ty { text, shape: Shape::Class, constant: false })
    }

    fn ty(&mut self) -> Option<Ty> {
        let first = self.rest.chars().next()?;
        let ty = match first {
            'P' => {
                self.next();
                let to = self.ty()?;
                let scalar = match to.shape {
                    Shape::Number(scalar) => Some(scalar),
                    _ => None,
                };
                let text = format!("*{} {}", if to.constant { "const" } else { "mut" }, to.text);
                Ty { text, shape: Shape::Pointer { to: scalar, mutable: !to.constant }, constant: false }
            }
            'K' => {
                self.next();
                Ty { constant: true, ..self.ty()? }
            }
            'V' | 'r' => {
                self.next();
                self.ty()?
            }
            'S' => {
                self.next();
                let index = self.sequence()?;
                let ty = self.substitutions.get(index)?.clone();
                if self.eat("I") {
                    let arguments = self.template_arguments()?;
                    Ty::class(instance(&ty.text, &arguments))
                } else {
                    return Some(ty);
                }
            }
            'T' => {
                self.next();
                let index = self.sequence()?;
                self.arguments.get(index)?.clone()
            }
            'N' => {
                self.next();
                return self.nested();
            }
            '0'..='9' => {
                let name = self.identifier()?;
                if self.eat("I") {
                    self.substitutions.push(Ty::class(name.clone()));
                    let arguments = self.template_arguments()?;
                    Ty::class(instance(&name, &arguments))
                } else {
                    Ty::class(name)
                }
            }
            _ => return self.builtin(),
        };
        self.substitutions.push(ty.clone());
        Some(ty)
    }

    /// `N2ws6ParamsE`, `NS_6ParamsE`: every prefix becomes a substitution.
    fn nested(&mut self) -> Option<Ty> {
        let mut name: Option<String> = None;
        while !self.eat("E") {
            if name.is_none() && self.eat("S") {
                let index = self.sequence()?;
                name = Some(self.substitutions.get(index)?.text.clone());
                continue;
            }
            let next = match &name {
                Some(prefix) if self.eat("I") => instance(prefix, &self.template_arguments()?),
                Some(prefix) => format!("{prefix}::{}", self.identifier()?),
                None => self.identifier()?,
            };
            self.substitutions.push(Ty::class(next.clone()));
            name = Some(next);
        }
        name.map(Ty::class)
    }

    fn builtin(&mut self) -> Option<Ty> {
        let shape = match self.next()? {
            'v' => return Some(Ty { text: "void".to_owned(), shape: Shape::Void, constant: false }),
            'b' => return Some(Ty { text: "bool".to_owned(), shape: Shape::Class, constant: false }),
            'c' | 'a' => Scalar::I8,
            'h' => Scalar::U8,
            's' => Scalar::I16,
            't' => Scalar::U16,
            'i' => Scalar::I32,
            'j' => Scalar::U32,
            'l' | 'x' => Scalar::I64,
            'm' | 'y' => Scalar::U64,
            'f' => Scalar::F32,
            'd' => Scalar::F64,
            _ => return None,
        };
        Some(Ty { text: shape.name().to_owned(), shape: Shape::Number(shape), constant: false })
    }
}

fn instance(name: &str, arguments: &[Ty]) -> String {
    let arguments: Vec<&str> = arguments.iter().map(|argument| argument.text.as_str()).collect();
    format!("{name}<{}>", arguments.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(to: Scalar, mutable: bool) -> ParamType {
        ParamType::Pointer { to: Some(to), mutable }
    }

    #[test]
    fn plain_functions_and_templates_are_read() {
        let plain = signature("_Z5saxpyPfPKffj").unwrap();
        assert_eq!(plain.name, "saxpy");
        let numbers = [ParamType::Scalar(Scalar::F32), ParamType::Scalar(Scalar::U32)];
        assert_eq!(plain.params, [pointer(Scalar::F32, true), pointer(Scalar::F32, false), numbers[0], numbers[1]]);
        // template <template <class> class F, class T, int N> void bin(T*, const T*, const T*, P, unsigned, f16*)
        let template = signature("_Z3binI3AddfLi256EEvPT0_PKS1_S4_1PjP3f16").unwrap();
        assert_eq!(template.name, "bin<Add, f32, 256>");
        assert_eq!(
            template.params,
            [
                pointer(Scalar::F32, true),
                pointer(Scalar::F32, false),
                pointer(Scalar::F32, false),
                ParamType::Bytes,
                numbers[1],
                pointer(Scalar::F16, true),
            ]
        );
    }

    #[test]
    fn tensor_maps_are_known_by_their_name() {
        // void f(CUtensorMap, const CUtensorMap*, Params)
        let maps = signature("_Z1f11CUtensorMapPKS_6Params").unwrap();
        let pointer = ParamType::Pointer { to: None, mutable: false };
        assert_eq!(maps.params, [ParamType::TensorMap, pointer, ParamType::Bytes]);
    }

    #[test]
    fn namespaces_voids_and_negative_literals_are_read() {
        // namespace ws { template <bool B, int N> void f(Params, Params*, const void*); }
        let nested = signature("_ZN2ws1fILb1ELin3EEEvNS_6ParamsEPS1_PKv").unwrap();
        assert_eq!(nested.name, "ws::f<true, -3>");
        assert_eq!(
            nested.params,
            [
                ParamType::Bytes,
                ParamType::Pointer { to: None, mutable: true },
                ParamType::Pointer { to: None, mutable: false },
            ]
        );
        assert_eq!(signature("_Z5emptyv").unwrap().params, []);
    }

    #[test]
    fn names_outside_the_subset_are_left_alone() {
        for name in ["saxpy", "_Z", "_Z5sax", "_Z1fDv4_f", "_Z1fS_", "_Z1fT_", "_Z1fILi3", "_Z999999999999999999999f"] {
            assert_eq!(signature(name), None, "{name}");
        }
    }
}
