//! The house is as docs/ARCHITECTURE.md says: which modules there are, that they import downwards
//! only, and why each dependency is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The Rust files of a folder of src/ and below, or the one file.
fn files(path: PathBuf) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path];
    }
    fs::read_dir(path).unwrap().flat_map(|entry| files(entry.unwrap().path())).collect()
}

/// The modules of the library, each with those that it imports.
fn modules() -> BTreeMap<String, BTreeSet<String>> {
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ["lib", "main", "cli"].contains(&name.as_str()) {
            continue;
        }
        let mut imported = BTreeSet::new();
        for file in files(path) {
            let text = fs::read_to_string(file).unwrap();
            // Tests may look up; comments name what they like.
            let code = text.split("#[cfg(test)]").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = lines.collect::<Vec<_>>().join("\n");
            for after in code.split("crate::").skip(1) {
                let list = match after.strip_prefix('{') {
                    Some(list) => list.split('}').next().unwrap(),
                    None => after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap(),
                };
                let first = |item: &str| item.trim().split("::").next().unwrap().to_owned();
                imported.extend(list.split(',').map(first));
            }
        }
        imported.remove(&name);
        modules.insert(name, imported);
    }
    let names: BTreeSet<_> = modules.keys().cloned().collect();
    for imported in modules.values_mut() {
        imported.retain(|name| names.contains(name));
    }
    modules
}

#[test]
fn the_architecture_names_every_module_above_those_that_import_it() {
    let text = read("docs/ARCHITECTURE.md");
    let place = |name: &str| {
        let named = [format!("\n  {name}.rs "), format!("\n  {name}/ ")];
        let place = named.iter().find_map(|named| text.find(named));
        place.unwrap_or_else(|| panic!("src/{name} is not named"))
    };
    let modules = modules();
    assert!(modules.len() > 10);
    for (name, imported) in modules {
        for lower in imported {
            assert!(place(&lower) < place(&name), "{name} imports {lower}, which stands below it");
        }
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let text = read("docs/ARCHITECTURE.md");
    let table = text.split("\n## Dependencies\n").nth(1).expect("a table of dependencies");
    let cargo: BTreeSet<_> = read("Cargo.toml")
        .split("\n[")
        .filter(|part| part.starts_with("dependencies]") || part.starts_with("dev-dependencies]"))
        .flat_map(|part| part.lines().skip(1).map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()))
        .collect();
    assert!(cargo.len() > 10);
    for name in cargo {
        assert!(table.contains(&format!("`{name}`")), "{name} has no reason in the table");
    }
}
