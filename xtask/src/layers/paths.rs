//! The paths into the crate that a source file names, by its tokens: comments and strings are none.

use std::iter::Peekable;
use std::vec::IntoIter;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path that begins at `crate`, `self` or `super`, or the crate's own name of something in a `use`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    /// Its segments as they are written; a `*` is one.
    pub(super) segments: Vec<String>,
    /// The module that names it, from the root of the crate.
    pub(super) module: Vec<String>,
    /// What it is called there, if it is imported.
    pub(super) alias: Option<String>,
    pub(super) line: usize,
}

impl Named {
    /// The path from the root of the crate, if it leads there.
    pub(super) fn absolute(&self) -> Option<Vec<String>> {
        let mut path = match self.segments.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        for (index, segment) in self.segments.iter().enumerate() {
            match segment.as_str() {
                "super" => {
                    path.pop()?;
                }
                // `a::{self}` is `a`.
                "crate" | "self" if index == 0 || index + 1 == self.segments.len() => {}
                other => path.push(other.to_owned()),
            }
        }
        Some(path)
    }
}

/// What a file of source says.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) named: Vec<Named>,
    /// Modules in files of their own that are only for tests.
    pub(super) test_modules: Vec<Vec<String>>,
}

type Tokens = Peekable<IntoIter<TokenTree>>;

/// Reads the source of `module`. What is only for tests is left out.
pub(super) fn read(text: &str, module: &[String]) -> Result<Source> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{error}"))?;
    let mut source = Source::default();
    source.scan(tokens, module);
    Ok(source)
}

impl Source {
    fn scan(&mut self, stream: TokenStream, module: &[String]) {
        let mut tokens = tokens(stream);
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' && is_for_tests(&mut tokens) => {
                    self.pass_over_item(&mut tokens, module);
                }
                TokenTree::Ident(word) => match word.to_string().as_str() {
                    "use" => self.imports(&mut tokens, module, &[]),
                    "mod" => self.scan_module(&mut tokens, module),
                    start @ ("crate" | "self" | "super") if at_colons(&tokens) => {
                        let line = word.span().start().line;
                        let segments = rest_of_path(start.to_owned(), &mut tokens);
                        self.add(segments, module, None, line);
                    }
                    _ => {}
                },
                TokenTree::Group(group) => self.scan(group.stream(), module),
                _ => {}
            }
        }
    }

    fn add(
        &mut self,
        segments: Vec<String>,
        module: &[String],
        alias: Option<String>,
        line: usize,
    ) {
        self.named.push(Named { segments, module: module.to_vec(), alias, line });
    }

    /// After `mod`: a name, and often a body.
    fn scan_module(&mut self, tokens: &mut Tokens, module: &[String]) {
        let Some(TokenTree::Ident(name)) = tokens.next() else { return };
        if let Some(body) = next_group(tokens, Delimiter::Brace) {
            self.scan(body.stream(), &below(module, &name.to_string()));
        }
    }

    /// After `use`, or a brace or comma within: the trees up to a semicolon or the end.
    fn imports(&mut self, tokens: &mut Tokens, module: &[String], prefix: &[String]) {
        let mut path = prefix.to_vec();
        let mut line = None;
        let mut alias = None;
        let mut nested = false;
        loop {
            let token = tokens.next();
            let ends = match &token {
                Some(TokenTree::Punct(mark)) => matches!(mark.as_char(), ',' | ';' | '<'),
                None => true,
                _ => false,
            };
            if ends {
                if let (false, Some(line)) = (nested, line) {
                    let alias = alias.take().or_else(|| path.last().cloned());
                    self.add(path, module, alias, line);
                }
                // `+ use<'a>` is no import; it names parameters alone.
                match token {
                    Some(TokenTree::Punct(mark)) if mark.as_char() == ',' => {
                        (path, line, alias, nested) = (prefix.to_vec(), None, None, false);
                        continue;
                    }
                    _ => return,
                }
            }
            match token {
                Some(TokenTree::Ident(word)) if word == "as" => {
                    alias = tokens.next().map(|name| name.to_string());
                }
                Some(TokenTree::Ident(word)) => {
                    line = Some(word.span().start().line);
                    path.push(word.to_string());
                }
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                    line = Some(star.span().start().line);
                    path.push("*".to_owned());
                }
                Some(TokenTree::Group(group)) => {
                    nested = true;
                    self.imports(&mut self::tokens(group.stream()), module, &path);
                }
                _ => {}
            }
        }
    }

    /// After `#[cfg(test)]`: skips the item, if it is one. Anything else that is for tests alone (a
    /// field, a statement) is read like the rest.
    fn pass_over_item(&mut self, tokens: &mut Tokens, module: &[String]) {
        const ITEMS: &[&str] = &[
            "async", "const", "enum", "extern", "fn", "impl", "mod", "static", "struct", "trait",
            "type", "unsafe", "use",
        ];
        // More attributes, and how visible it is.
        loop {
            if next_punct(tokens, '#') {
                tokens.next();
            } else if matches!(tokens.peek(), Some(TokenTree::Ident(word)) if word == "pub") {
                tokens.next();
                next_group(tokens, Delimiter::Parenthesis);
            } else {
                break;
            }
        }
        let Some(TokenTree::Ident(word)) = tokens.peek() else { return };
        let word = word.to_string();
        if !ITEMS.contains(&word.as_str()) {
            return;
        }
        tokens.next();
        if word == "mod" {
            let name = tokens.next().map(|name| name.to_string()).unwrap_or_default();
            if next_group(tokens, Delimiter::Brace).is_none() {
                self.test_modules.push(below(module, &name));
            }
            return;
        }
        for token in tokens {
            match token {
                TokenTree::Punct(end) if end.as_char() == ';' => return,
                TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => return,
                _ => {}
            }
        }
    }
}

fn tokens(stream: TokenStream) -> Tokens {
    stream.into_iter().collect::<Vec<_>>().into_iter().peekable()
}

fn below(module: &[String], name: &str) -> Vec<String> {
    [module, &[name.to_owned()]].concat()
}

/// After `#`: reads the attribute, and says whether it is `cfg(test)` or `cfg(all(test, ...))`.
fn is_for_tests(tokens: &mut Tokens) -> bool {
    next_punct(tokens, '!');
    let Some(attribute) = next_group(tokens, Delimiter::Bracket) else { return false };
    let mut tokens = self::tokens(attribute.stream());
    let is_cfg = matches!(tokens.next(), Some(TokenTree::Ident(word)) if word == "cfg");
    is_cfg
        && next_group(&mut tokens, Delimiter::Parenthesis).is_some_and(|group| demands_test(&group))
}

fn demands_test(condition: &Group) -> bool {
    let mut tokens = tokens(condition.stream());
    while let Some(token) = tokens.next() {
        if let TokenTree::Ident(word) = token {
            let group = next_group(&mut tokens, Delimiter::Parenthesis);
            let demanded = match group {
                None => word == "test",
                Some(group) => word == "all" && demands_test(&group),
            };
            if demanded {
                return true;
            }
        }
    }
    false
}

fn at_colons(tokens: &Tokens) -> bool {
    let mut tokens = tokens.clone();
    next_punct(&mut tokens, ':') && next_punct(&mut tokens, ':')
}

/// The path that begins with `start`, as long as names follow.
fn rest_of_path(start: String, tokens: &mut Tokens) -> Vec<String> {
    let mut path = vec![start];
    while at_colons(tokens) {
        tokens.next();
        tokens.next();
        match tokens.peek() {
            Some(TokenTree::Ident(word)) => path.push(word.to_string()),
            _ => break,
        }
        tokens.next();
    }
    path
}

fn next_punct(tokens: &mut Tokens, mark: char) -> bool {
    let is_next = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == mark);
    tokens.next_if(is_next).is_some()
}

fn next_group(tokens: &mut Tokens, delimiter: Delimiter) -> Option<Group> {
    let is_next =
        |token: &TokenTree| matches!(token, TokenTree::Group(g) if g.delimiter() == delimiter);
    match tokens.next_if(is_next) {
        Some(TokenTree::Group(group)) => Some(group),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the source of the module `room::file` names, from the root.
    fn found(text: &str) -> Vec<String> {
        let module = ["room".to_owned(), "file".to_owned()];
        let source = read(text, &module).unwrap();
        source.named.iter().filter_map(|named| Some(named.absolute()?.join("::"))).collect()
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
        assert_eq!(found("use crate::a::B;"), ["a::B"]);
        assert_eq!(found("pub(crate) use crate::a::B as C;"), ["a::B"]);
        assert_eq!(
            found("use crate::{\n    a::{self, b::{C, D as E},},\n    f::*,\n};"),
            ["a", "a::b::C", "a::b::D", "f::*"]
        );
        assert_eq!(found("use std::fs; use ::anyhow::Result; use other::{X, Y};"), [""; 0]);
        assert_eq!(found("fn f() -> impl Fn() + use<'_> { crate::a::b() }"), ["a::b"]);
    }

    #[test]
    fn paths_of_neighbours_lead_to_the_root() {
        assert_eq!(found("use super::other::X;"), ["room::other::X"]);
        assert_eq!(found("use super::super::{a, self};"), ["a", ""]);
        assert_eq!(found("fn f() { self::below::g() }"), ["room::file::below::g"]);
        assert_eq!(found("mod inner { use super::super::x::Y; }"), ["room::x::Y"]);
    }

    #[test]
    fn paths_within_code_are_found() {
        let code = "fn f(x: crate::a::T<crate::b::U>) -> bool {\n    assert!(x == crate::c::g(1));\n\
                    let y = super::super::d::Z { x };\n    crate::e::h::<u8>(y)\n}";
        assert_eq!(found(code), ["a::T", "b::U", "c::g", "d::Z", "e::h"]);
        assert_eq!(found("macro_rules! m { () => { $crate::a::b() } }"), ["a::b"]);
    }

    #[test]
    fn comments_and_strings_name_nothing() {
        let text = "//! crate::a::b\n/// use crate::a::b;\n/* crate::a::b */\n\
                    #[doc = \"crate::a::b\"] const X: &str = \"use crate::a::b;\"; // crate::a";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn what_is_for_tests_names_nothing() {
        assert_eq!(found("#[cfg(test)]\nmod tests { use crate::a::b; }"), [""; 0]);
        assert_eq!(
            found("#[cfg(all(test, unix))] #[allow(x)] pub(crate) fn f() { crate::a::b() }"),
            [""; 0]
        );
        assert_eq!(found("#[cfg(test)] use crate::a::{b, c}; use crate::d;"), ["d"]);
        let source = read("#[cfg(test)] mod tests;", &["room".to_owned()]).unwrap();
        assert_eq!(source.test_modules, [["room", "tests"]]);
    }

    #[test]
    fn what_is_not_for_tests_alone_is_read() {
        assert_eq!(found("#[cfg(any(test, unix))] use crate::a;"), ["a"]);
        assert_eq!(found("#[cfg(not(test))] use crate::a;"), ["a"]);
        assert_eq!(
            found("struct S { #[cfg(test)] x: crate::a::X, y: crate::b::Y }"),
            ["a::X", "b::Y"]
        );
    }

    #[test]
    fn lines_are_told() {
        let source = read("\n\nuse crate::{\n    a,\n    b::C,\n};", &[]).unwrap();
        assert_eq!(source.named.iter().map(|named| named.line).collect::<Vec<_>>(), [4, 5]);
    }
}
