//! Which package of a system is there for which: dpkg's relations, resolved (deb-control(5)).
//!
//! Of `a | b`, the first that is there counts. A package of that name goes before one that provides
//! it; of those, all count.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use super::status::{MultiArch, Package, is_name};
use super::version::{compare, is_version};

/// How many packages are looked at in all. A system of five thousand takes a hundred thousand.
const MAX_STEPS: usize = 10_000_000;

/// Why relations give nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// What the package at that place needs or provides cannot be understood.
    Relation(usize),
    /// They are beyond the limit.
    TooMany,
}

/// One of several that would do: `name:qualifier (operator version)`.
struct Wanted<'a> {
    name: &'a str,
    qualifier: Option<&'a str>,
    version: Option<(&'a str, &'a str)>,
}

/// What each package depends on, by their places in the list.
pub(super) fn resolve(packages: &[Package]) -> Result<Vec<BTreeSet<usize>>, Flaw> {
    let mut index: HashMap<&str, Vec<(usize, Option<&str>)>> = HashMap::new();
    for (at, package) in packages.iter().enumerate() {
        index.entry(&package.name).or_default().push((at, Some(&package.version)));
    }
    let mut provided: HashMap<&str, Vec<(usize, Option<&str>)>> = HashMap::new();
    for (at, package) in packages.iter().enumerate() {
        for words in list(&package.provides, ',') {
            let wanted = parse(words).ok_or(Flaw::Relation(at))?;
            let version = wanted.version.map(|(_, version)| version);
            provided.entry(wanted.name).or_default().push((at, version));
        }
    }
    let native = native(packages);
    let mut steps = 0;
    let mut all = Vec::with_capacity(packages.len());
    for (at, package) in packages.iter().enumerate() {
        let mut needed = BTreeSet::new();
        for group in package.depends.iter().flat_map(|relation| list(relation, ',')) {
            for words in list(group, '|') {
                let wanted = parse(words).ok_or(Flaw::Relation(at))?;
                let mut doing = Vec::new();
                for names in [&index, &provided] {
                    let candidates = names.get(wanted.name).map_or(&[][..], Vec::as_slice);
                    steps += candidates.len();
                    if steps > MAX_STEPS {
                        return Err(Flaw::TooMany);
                    }
                    if doing.is_empty() {
                        let fitting = candidates.iter().filter(|(candidate, version)| {
                            fits(&packages[*candidate], *version, package, &wanted, native)
                        });
                        doing.extend(fitting.map(|(candidate, _)| *candidate));
                    }
                }
                if !doing.is_empty() {
                    needed.extend(doing);
                    break;
                }
            }
        }
        // A package may provide what it needs.
        needed.remove(&at);
        all.push(needed);
    }
    Ok(all)
}

/// The architecture of the machine that the system is for: dpkg's own.
fn native(packages: &[Package]) -> &str {
    let own = |package: &&Package| package.architecture != "all";
    let dpkg = packages.iter().filter(own).find(|package| package.name == "dpkg");
    dpkg.or_else(|| packages.iter().find(own)).map_or("all", |package| &package.architecture)
}

fn list(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|words| !words.is_empty())
}

fn parse(words: &str) -> Option<Wanted<'_>> {
    let (name, version) = match words.split_once('(') {
        None => (words, None),
        Some((name, rest)) => {
            let rest = rest.strip_suffix(')')?.trim();
            let version = rest.trim_start_matches(['<', '=', '>']);
            let operator = &rest[..rest.len() - version.len()];
            let version = version.trim();
            if !matches!(operator, "<<" | "<=" | "=" | ">=" | ">>" | "<" | ">")
                || !is_version(version)
            {
                return None;
            }
            (name.trim(), Some((operator, version)))
        }
    };
    let (name, qualifier) = match name.split_once(':') {
        None => (name, None),
        Some((name, qualifier)) => (name, Some(qualifier)),
    };
    is_name(name).then_some(Wanted { name, qualifier, version })
}

/// What is for all architectures belongs to the machine's own.
fn own_architecture<'a>(package: &'a Package, native: &'a str) -> &'a str {
    match package.architecture.as_str() {
        "all" => native,
        other => other,
    }
}

/// Whether a package, which has the name in that version, is one that another one wants.
fn fits(
    candidate: &Package,
    version: Option<&str>,
    by: &Package,
    wanted: &Wanted,
    native: &str,
) -> bool {
    let own = |package| own_architecture(package, native);
    let architecture = match (wanted.qualifier, candidate.multi_arch) {
        (Some("any"), MultiArch::Allowed) | (None | Some("any"), MultiArch::Foreign) => true,
        (None | Some("any"), _) => own(candidate) == own(by),
        (Some(qualifier), _) => own(candidate) == qualifier,
    };
    let Some((operator, limit)) = wanted.version else { return architecture };
    // Who provides a name without a version has none that could be compared.
    let Some(version) = version else { return false };
    let order = compare(version, limit);
    architecture
        && match operator {
            "<<" => order == Ordering::Less,
            // As dpkg reads what is obsolete (deb-control(5)).
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            _ => order == Ordering::Greater,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::status::packages;

    /// `NAME:ARCH VERSION` and further fields, separated by `;`, one package a line.
    fn system(lines: &str) -> Vec<Package> {
        let mut status = String::new();
        for line in lines.lines() {
            let mut parts = line.split(';');
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            let (name, arch) = name.split_once(':').unwrap();
            status += &format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\n\
                 Version: {version}\n"
            );
            for field in parts {
                status += &format!("{}\n", field.trim());
            }
            status += "\n";
        }
        packages(status.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_package_depends_on() {
        let rest = "dpkg:amd64 1\nmawk:amd64 1; Provides: awk\ngawk:amd64 1; Provides: awk (= 3)\n\
                    libx:amd64 2; Multi-Arch: same\nlibx:i386 2; Multi-Arch: same\ndoc:all 1\n\
                    perl:amd64 5; Multi-Arch: allowed\ntool:amd64 1; Multi-Arch: foreign\n\
                    other:i386 1\n";
        for (arch, depends, expected) in [
            ("amd64", "", ""),
            ("amd64", "dpkg", "dpkg:amd64"),
            ("amd64", "dpkg (>= 1), dpkg (<< 2)", "dpkg:amd64"),
            ("amd64", "dpkg (>= 2)", ""),
            ("amd64", "dpkg (= 1-1) | doc", "doc:all"),
            ("amd64", "gone | dpkg | doc", "dpkg:amd64"),
            ("amd64", "awk", "gawk:amd64 mawk:amd64"),
            // Of a name that is only provided, a version has to be told.
            ("amd64", "awk (>= 2)", "gawk:amd64"),
            ("amd64", "awk (>= 4) | dpkg", "dpkg:amd64"),
            ("amd64", "libx", "libx:amd64"),
            ("i386", "libx", "libx:i386"),
            ("all", "libx", "libx:amd64"),
            ("amd64", "libx:i386", "libx:i386"),
            ("i386", "doc", ""),
            ("i386", "tool, doc", "tool:amd64"),
            ("i386", "perl", ""),
            ("i386", "perl:any", "perl:amd64"),
            ("amd64", "perl:any", "perl:amd64"),
            ("amd64", "other", ""),
            // Its own name.
            ("amd64", "x", ""),
            ("amd64", "dpkg,\n doc", "doc:all dpkg:amd64"),
        ] {
            let depends = depends.replace('\n', "\n ");
            let packages =
                system(&format!("{rest}x:{arch} 1; Pre-Depends: {}\n", depends.replace("\n", "")));
            let at = packages.iter().position(|package| package.name == "x").unwrap();
            let resolved = resolve(&packages).unwrap();
            let names = resolved[at].iter().map(|at| &packages[*at]);
            let names: Vec<_> = names.map(|p| format!("{}:{}", p.name, p.architecture)).collect();
            assert_eq!(names.join(" "), expected, "{arch} {depends}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for depends in ["a (", "a (1)", "a (>= )", "a (=> 1)", "a b", "A", "a (>= 1) b", "(= 1)"] {
            let packages = system(&format!("b:all 1\nx:all 1; Depends: {depends}\n"));
            assert_eq!(resolve(&packages), Err(Flaw::Relation(1)), "{depends}");
        }
    }

    #[test]
    fn many_that_provide_what_many_need_end() {
        let lines: String =
            (0..4000).map(|n| format!("p{n}:all 1; Provides: v; Depends: v\n")).collect();
        assert_eq!(resolve(&system(&lines)), Err(Flaw::TooMany));
    }
}
