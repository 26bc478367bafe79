//! No module of a crate imports from another one in a circle.
//!
//! The graph has a node for each file, and an edge for each path that a file names in another file of its
//! crate. A path through a re-export (`pub use`) leads to the file that has the item; a re-export is no edge
//! itself. Paths in the arguments of macros are not seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result};
use syn::{
    Attribute, ItemMod, ItemUse, Path, UseTree, VisRestricted, Visibility,
    visit::{self, Visit},
};

use crate::process::root;

/// Names a module by its path in the crate; the crate's root has none.
type Module = Vec<String>;

/// What one file names.
#[derive(Default)]
struct File {
    /// Paths in use declarations and in code.
    named: Vec<Vec<String>>,
    /// What it re-exports, by the name that it has there.
    reexported: BTreeMap<String, Vec<String>>,
}

/// Adds a problem for each circle in the crate whose sources are in `directory`.
pub(super) fn check(directory: &str, files: &[String], problems: &mut Vec<String>) -> Result<()> {
    let mut modules = BTreeMap::new();
    for file in files.iter().filter(|file| file.starts_with(directory) && file.ends_with(".rs")) {
        let text = fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("parse {file}"))?;
        let mut found = File::default();
        found.visit_file(&parsed);
        // A package's library and program share a directory, and are both its root.
        let module: &mut File = modules.entry(module(directory, file)).or_default();
        module.named.append(&mut found.named);
        module.reexported.append(&mut found.reexported);
    }
    problems.extend(
        circles(&modules)
            .iter()
            .map(|circle| format!("{directory}: a circle of imports: {}", circle.join(" -> "))),
    );
    Ok(())
}

fn module(directory: &str, file: &str) -> Module {
    let path = file.strip_prefix(directory).and_then(|path| path.strip_suffix(".rs")).unwrap_or(file);
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

impl<'ast> Visit<'ast> for File {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        if matches!(item.vis, Visibility::Inherited) {
            self.named.extend(paths.into_iter().map(|(path, _)| path));
        } else {
            self.reexported.extend(paths.into_iter().map(|(path, name)| (name, path)));
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        // A path of one segment names a variable, or what a use declaration has brought.
        if path.segments.len() > 1 {
            self.named.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    /// `pub(in path)` is no import.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    /// Tests may name what they test.
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let condition = list.tokens.to_string();
                condition == "test" || condition.starts_with("all (test")
            })
    })
}

/// The paths of a use declaration, each with the name that it gives.
fn flatten(tree: &UseTree, before: &mut Vec<String>, paths: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, paths);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, paths)),
        UseTree::Name(name) => add(before, &name.ident.to_string(), None, paths),
        UseTree::Rename(rename) => {
            add(before, &rename.ident.to_string(), Some(rename.rename.to_string()), paths);
        }
        UseTree::Glob(_) => paths.push((before.clone(), "*".to_owned())),
    }
}

fn add(before: &[String], name: &str, rename: Option<String>, paths: &mut Vec<(Vec<String>, String)>) {
    let mut path = before.to_vec();
    if name != "self" {
        path.push(name.to_owned());
    }
    let given = rename.or_else(|| path.last().cloned()).unwrap_or_default();
    paths.push((path, given));
}

/// The module in which the item at the end of a path is; none outside of the crate.
fn resolve(modules: &BTreeMap<Module, File>, from: &Module, path: &[String], depth: usize) -> Option<Module> {
    let mut at = from.clone();
    let mut rest = path;
    match rest.first().map(String::as_str)? {
        "crate" => {
            at.clear();
            rest = rest.get(1..)?;
        }
        "self" | "super" => {
            while let Some("self" | "super") = rest.first().map(String::as_str) {
                if rest.first().is_some_and(|first| first == "super") {
                    at.pop()?;
                }
                rest = rest.get(1..)?;
            }
        }
        child => {
            let mut module = at.clone();
            module.push(child.to_owned());
            modules.get(&module)?;
        }
    }
    while let Some(next) = rest.first() {
        let mut deeper = at.clone();
        deeper.push(next.clone());
        if !modules.contains_key(&deeper) {
            break;
        }
        at = deeper;
        rest = rest.get(1..)?;
    }
    // A chain of re-exports is short; a circle of them would be an error of the compiler.
    const DEEPEST: usize = 8;
    if let Some((name, behind)) = rest.split_first()
        && let Some(target) = modules.get(&at)?.reexported.get(name)
        && depth < DEEPEST
    {
        let target = [target.as_slice(), behind].concat();
        if let Some(found) = resolve(modules, &at, &target, depth + 1) {
            return Some(found);
        }
    }
    Some(at)
}

/// One circle for each set of modules that reach each other.
fn circles(modules: &BTreeMap<Module, File>) -> Vec<Vec<String>> {
    let edges: BTreeMap<&Module, BTreeSet<Module>> = modules
        .iter()
        .map(|(module, file)| {
            let targets = file.named.iter().filter_map(|path| resolve(modules, module, path, 0));
            (module, targets.filter(|target| target != module).collect())
        })
        .collect();
    let mut reported: BTreeSet<Module> = BTreeSet::new();
    let mut found = Vec::new();
    for start in modules.keys() {
        if reported.contains(start) {
            continue;
        }
        if let Some(circle) = way_back(&edges, start) {
            reported.extend(circle.iter().cloned());
            found.push(circle.iter().map(name).collect());
        }
    }
    found
}

/// The shortest way from a module to itself, with the module at both ends.
fn way_back(edges: &BTreeMap<&Module, BTreeSet<Module>>, start: &Module) -> Option<Vec<Module>> {
    let mut before: BTreeMap<Module, Module> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start.clone()]);
    while let Some(module) = queue.pop_front() {
        for next in edges.get(&module).into_iter().flatten() {
            if next == start {
                let mut way = vec![start.clone(), module.clone()];
                while let Some(former) = way.last().and_then(|last| before.get(last)) {
                    way.push(former.clone());
                }
                way.reverse();
                way.push(start.clone());
                way.dedup();
                return Some(way);
            }
            if !before.contains_key(next) {
                before.insert(next.clone(), module.clone());
                queue.push_back(next.clone());
            }
        }
    }
    None
}

fn name(module: &Module) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let parse = |(file, text): &(&str, &str)| {
            let mut found = File::default();
            found.visit_file(&syn::parse_file(text).expect("the test's source is Rust"));
            (module("src/", file), found)
        };
        circles(&files.iter().map(parse).collect())
    }

    #[test]
    fn circle_is_found_through_use_path_parent_and_reexport() {
        for (one, other) in [
            ("use crate::b::B;", "use crate::a::A;"),
            ("fn f() { crate::b::f() }", "use super::a::A;"),
            ("use crate::{B, x::Y};", "use crate::a::{self, A};"),
        ] {
            let root = "mod a; mod b; pub use b::B;";
            let found = circles_of(&[("src/lib.rs", root), ("src/a.rs", one), ("src/b.rs", other)]);
            assert_eq!(found, [["a", "b", "a"]], "{one} {other}");
        }
        let found = circles_of(&[("src/a.rs", "use self::c::C;"), ("src/a/c.rs", "use super::A;")]);
        assert_eq!(found, [["a", "a::c", "a"]]);
    }

    #[test]
    fn one_direction_tests_reexports_and_variables_are_no_circle() {
        let a = "use crate::b::B; #[cfg(test)] mod tests { use super::*; }";
        let b =
            "pub(in crate::a) struct B; fn f(a: u8) -> u8 { a } #[cfg(test)] mod tests { use crate::a::A; }";
        let root = "mod a; mod b; pub use a::A; pub use b::B;";
        assert!(circles_of(&[("src/lib.rs", root), ("src/a.rs", a), ("src/b.rs", b)]).is_empty());
    }
}
