//! A crate: its files, its modules, and who names whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::circles::{Graph, circles};
use super::paths::{self, Named};
use crate::shell::ROOT;

/// The sources of a crate, tests aside.
pub(super) struct House {
    files: Vec<File>,
    /// The modules right below the root.
    rooms: BTreeSet<String>,
    /// What the root of the crate imports from a module, by the name it has there.
    exports: BTreeMap<String, String>,
}

struct File {
    /// From the root of the repository, for people.
    path: String,
    module: Vec<String>,
    named: Vec<Named>,
}

impl House {
    /// Reads the crate in `crates/NAME`.
    pub(super) fn read(name: &str) -> Result<Self> {
        let source = Path::new("crates").join(name).join("src");
        let mut paths = Vec::new();
        list(&Path::new(ROOT).join(&source), &mut paths)?;
        let mut texts = Vec::new();
        for path in paths {
            let inside = path.strip_prefix(Path::new(ROOT).join(&source))?;
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            texts.push((source.join(inside).display().to_string(), module_of(inside), text));
        }
        Self::of(texts)
    }

    /// The crate of these files: path, module, text.
    fn of(texts: Vec<(String, Vec<String>, String)>) -> Result<Self> {
        let (mut files, mut for_tests) = (Vec::new(), Vec::new());
        for (path, module, text) in texts {
            let source = paths::read(&text, &module).with_context(|| path.clone())?;
            for_tests.extend(source.test_modules);
            files.push(File { path, module, named: source.named });
        }
        files.retain(|file| !for_tests.iter().any(|module| file.module.starts_with(module)));
        let rooms: BTreeSet<String> =
            files.iter().filter_map(|file| file.module.first().cloned()).collect();
        let mut exports = BTreeMap::new();
        for named in files.iter().filter(|file| file.module.is_empty()).flat_map(|f| &f.named) {
            let path = named.absolute().unwrap_or_else(|| named.segments.clone());
            let room = path.first().filter(|room| rooms.contains(*room));
            if let (Some(room), Some(name)) = (room, &named.alias) {
                exports.insert(name.clone(), room.clone());
            }
        }
        Ok(Self { files, rooms, exports })
    }

    /// Whatever goes against the order of `floors`, the lowest first.
    pub(super) fn offences(&self, floors: &[&str]) -> Vec<String> {
        let mut offences = Vec::new();
        for room in &self.rooms {
            match floors.iter().filter(|floor| *floor == room).count() {
                0 => offences.push(format!("the module `{room}` has no floor")),
                1 => {}
                _ => offences.push(format!("the module `{room}` has several floors")),
            }
        }
        for floor in floors.iter().filter(|floor| !self.rooms.contains(**floor)) {
            offences.push(format!("there is a floor for `{floor}`, which is no module"));
        }
        for file in &self.files {
            // The root is above all.
            if let Some(room) = file.module.first() {
                for named in &file.named {
                    let rule = self.broken_rule(room, named, floors);
                    offences.extend(rule.map(|rule| {
                        let path = named.segments.join("::");
                        format!("{}:{}: `{path}`: {rule}", file.path, named.line)
                    }));
                }
            }
        }
        for circle in circles(&self.within_rooms()) {
            let files = circle.join(", ");
            offences
                .push(format!("{files}: files of a room must not import each other in a circle"));
        }
        offences
    }

    /// The rule that the module `room` breaks by what it names.
    fn broken_rule(&self, room: &str, named: &Named, floors: &[&str]) -> Option<String> {
        let path = named.absolute()?;
        let Some(first) = path.first().filter(|first| *first != "*") else {
            return Some("import from the modules, not all of the crate's root".to_owned());
        };
        let Some(other) = self.rooms.get(first).or_else(|| self.exports.get(first)) else {
            return Some(format!("`{first}` is no module, nor does lib.rs import it from one"));
        };
        let floor = |room: &str| floors.iter().position(|floor| *floor == room);
        let (here, there) = (floor(room)?, floor(other)?);
        (other != room && there > here).then(|| {
            format!("`{room}` (floor {here}) may import only what lies lower, not `{other}` (floor {there})")
        })
    }

    /// Which file imports which of the same room. The file of a module that has files below is left
    /// out: it introduces them to each other.
    fn within_rooms(&self) -> Graph {
        let has_below = |module: &[String]| {
            self.files.iter().any(|f| f.module.len() > module.len() && f.module.starts_with(module))
        };
        let leaves: Vec<&File> = self.files.iter().filter(|f| !has_below(&f.module)).collect();
        let mut graph = Graph::new();
        for from in &leaves {
            for path in from.named.iter().filter_map(Named::absolute) {
                let to = leaves.iter().find(|to| path.starts_with(&to.module));
                if let Some(to) = to.filter(|to| {
                    to.module != from.module && to.module.first() == from.module.first()
                }) {
                    graph.entry(from.path.clone()).or_default().insert(to.path.clone());
                }
            }
        }
        graph
    }
}

/// All files of Rust below `folder`, in order.
fn list(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The module of a file, by its path in `src`.
fn module_of(path: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let last = module.last().map(String::as_str);
    if last == Some("mod") || module.len() == 1 && matches!(last, Some("lib" | "main")) {
        module.pop();
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(files: &[(&str, &str)]) -> House {
        let file = |(path, text): &(&str, &str)| {
            ((*path).to_owned(), module_of(Path::new(path)), (*text).to_owned())
        };
        House::of(files.iter().map(file).collect()).unwrap()
    }

    const ROOT: (&str, &str) =
        ("lib.rs", "mod low; pub mod high; pub use low::{Thing, Other as Renamed}; use std::fs;");

    #[test]
    fn modules_by_their_files() {
        for (path, module) in [
            ("lib.rs", ""),
            ("a.rs", "a"),
            ("a/mod.rs", "a"),
            ("a/lib.rs", "a::lib"),
            ("a/b.rs", "a::b"),
        ] {
            assert_eq!(module_of(Path::new(path)).join("::"), module);
        }
    }

    #[test]
    fn importing_what_lies_lower_is_right() {
        let high =
            "use crate::{low::X, Thing, Renamed}; fn f() { super::low::g(); crate::high::h() }";
        let house = house(&[ROOT, ("low.rs", ""), ("high/mod.rs", high)]);
        assert_eq!(house.offences(&["low", "high"]), [""; 0]);
    }

    #[test]
    fn importing_what_lies_higher_is_told() {
        let low = "\nuse crate::high::X;\nfn f() {\n    let x = crate::high::inner::g();\n}";
        let offences = house(&[ROOT, ("low.rs", low), ("high.rs", "")]).offences(&["low", "high"]);
        let rule = "`low` (floor 0) may import only what lies lower, not `high` (floor 1)";
        assert_eq!(
            offences,
            [
                format!("low.rs:2: `crate::high::X`: {rule}"),
                format!("low.rs:4: `crate::high::inner::g`: {rule}"),
            ]
        );
    }

    #[test]
    fn what_the_root_imports_belongs_to_its_module() {
        let house = house(&[ROOT, ("low.rs", ""), ("high.rs", "use crate::Renamed;")]);
        assert_eq!(house.offences(&["low", "high"]), [""; 0]);
        let offences = house.offences(&["high", "low"]);
        assert!(offences.len() == 1 && offences[0].contains("not `low`"), "{offences:?}");
    }

    #[test]
    fn the_root_itself_is_not_imported() {
        for text in ["use crate::*;", "use super::*;", "use crate::Unknown;", "use crate::fs;"] {
            let house = house(&[ROOT, ("low.rs", text), ("high.rs", "")]);
            assert_eq!(house.offences(&["low", "high"]).len(), 1, "{text}");
        }
    }

    #[test]
    fn tests_import_what_they_like() {
        let low = "#[cfg(test)]\nmod tests { use super::*; use crate::high::X; }\n\
                   #[cfg(test)]\nmod more;\n/// See [`crate::high::X`].\nfn f() {}";
        let more = "use crate::high::X;";
        let house = house(&[ROOT, ("low/mod.rs", low), ("low/more.rs", more), ("high.rs", "")]);
        assert_eq!(house.offences(&["low", "high"]), [""; 0]);
    }

    #[test]
    fn every_module_has_one_floor() {
        let house = house(&[ROOT, ("low.rs", ""), ("high.rs", "")]);
        assert_eq!(house.offences(&["low"]), ["the module `high` has no floor"]);
        assert_eq!(
            house.offences(&["low", "high", "low"]),
            ["the module `low` has several floors"]
        );
        let offences = house.offences(&["low", "attic", "high"]);
        assert_eq!(offences, ["there is a floor for `attic`, which is no module"]);
    }

    #[test]
    fn circles_within_a_room_are_told() {
        let (a, b) = ("use super::b::B;", "use crate::high::a::A;");
        let introduced = "mod a; mod b; pub use a::A;";
        let house = house(&[
            ROOT,
            ("low.rs", ""),
            ("high/mod.rs", introduced),
            ("high/a.rs", a),
            ("high/b.rs", b),
            ("high/c.rs", "use super::a::A; use super::Introduced;"),
        ]);
        let offences = house.offences(&["low", "high"]);
        assert!(
            offences.len() == 1 && offences[0].starts_with("high/a.rs, high/b.rs: "),
            "{offences:?}"
        );
    }
}
