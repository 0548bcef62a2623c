//! The feature graph: what a target stands for, in which order, and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use crate::common::Scratch;
use osimage::features::{Arch, Feature, FeatureType, Graph, Target};
use osimage::{Error, Kind};
use proptest::prelude::*;

mod commands;

/// A features folder from lines `NAME TYPE +INCLUDED… -EXCLUDED…`, which a `;` ends.
fn folder(lines: &str) -> Scratch {
    let root = Scratch::new();
    for line in lines.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let list = |sign: char| {
            words[2..]
                .iter()
                .filter_map(|word| word.strip_prefix(sign))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let info = format!(
            "type: {}\nfeatures:\n  include: [{}]\n  exclude: [{}]\n",
            words[1],
            list('+'),
            list('-')
        );
        write(&root, words[0], &info);
    }
    root
}

fn write(root: &Scratch, feature: &str, info: &str) {
    root.write(format!("features/{feature}/info.yaml"), info);
}

fn load(root: &Scratch) -> Result<Graph, Error> {
    Graph::load(&root.path("features"))
}

fn names<'a>(features: &[&'a Feature]) -> Vec<&'a str> {
    features.iter().map(|feature| feature.name.as_str()).collect()
}

const CLOUDS: &str = "base element; server element +base; cloud element +server; gardener element +server; gcp platform +cloud;
    kvm platform +cloud; azure platform +cloud; metal platform +server; _oci flag; _slim flag; _dev flag; _prod flag";

/// The canonical name and the features in the order of their hooks; nothing where something is
/// excluded that is asked for.
type Resolved = Option<(&'static str, &'static str)>;

/// Every entry gave the same result in Garden Linux's builder.
#[rustfmt::skip]
const RESOLVED: &[(&str, &str, Resolved)] = &[
    (CLOUDS, "gcp_oci", Some(("gcp_oci", "base,server,cloud,gcp,_oci"))),
    (CLOUDS, "kvm_oci", Some(("kvm_oci", "base,server,cloud,kvm,_oci"))),
    (CLOUDS, "metal_oci", Some(("metal_oci", "base,server,metal,_oci"))),
    (CLOUDS, "azure-gardener_dev_oci", Some(("azure-gardener_dev_oci", "base,server,cloud,azure,gardener,_dev,_oci"))),
    // Flags are sorted, and what another feature includes is not named.
    (CLOUDS, "gcp-gardener_prod_oci", Some(("gcp-gardener_oci_prod", "base,server,cloud,gcp,gardener,_oci,_prod"))),
    (CLOUDS, "cloud-gcp-base_oci", Some(("gcp_oci", "base,server,cloud,gcp,_oci"))),
    // Ties: by type, whatever the name.
    ("d element; p platform", "d-p", Some(("p-d", "p,d"))),
    ("_h flag; p platform; z element", "p-z_h", Some(("p-z_h", "p,z,_h"))),
    // `b` comes before the `c` it includes, and after `p`, which drops that `c` before it could exclude what is asked for.
    ("a element; b element +c +a; c element -a; p platform -c", "p-a-b", Some(("p-b", "p,a,b"))),
    // What the dropped one had brought in goes with it…
    ("_g flag +_h; _h flag; d element +_g; p platform -_g", "p-d", Some(("p-d", "p,d"))),
    ("x element +a +c; a element; c element +a; p platform -c", "p-x", Some(("p-x", "p,a,x"))),
    // …but what is asked for is never dropped.
    ("_g flag +e; e element; p platform -e -_g", "p_g", None),
    ("_f flag +p -a +d; _g flag +b +_f; a element; b element -a -c; c element -p; d element +c -b -a; p platform", "p_g", None),
];

#[test]
fn targets_resolve_as_in_garden_linux_builder() {
    for (lines, target, expected) in RESOLVED {
        let root = folder(lines);
        let graph = load(&root).unwrap();
        let resolved = graph.resolve(&target.parse::<Target>().unwrap().features);
        match (resolved, expected) {
            (Ok(selection), Some((cname, order))) => {
                assert_eq!(
                    (selection.cname.as_str(), selection.names().join(",").as_str()),
                    (*cname, *order),
                    "{target} of {lines}"
                );
            }
            (Err(error), None) => {
                assert!(error.to_string().contains(" excludes "), "{target} of {lines}: {error}");
            }
            (resolved, _) => {
                panic!("{target} of {lines}: {:?}", resolved.map(|selection| selection.cname))
            }
        }
    }
}

#[test]
#[rustfmt::skip]
fn what_makes_no_target_is_refused_with_the_names() {
    let entries: &[(&str, &str, Kind, &str)] = &[
        ("gcp platform; _x flag -b; b element", "gcp-b_x", Kind::Usage,
         "`_x` excludes `b`, but the target asks for `b`"),
        ("gcp platform +a; a element +_x; _x flag -b; b element", "gcp-b", Kind::Usage,
         "`_x` (included by gcp → a) excludes `b`, but the target asks for `b`"),
        (CLOUDS, "gcp-nope", Kind::NotFound, "there is no feature `nope`"),
        (CLOUDS, "server_oci", Kind::Usage, "no platform is among the target's features, and there must be exactly one"),
        ("base element", "base", Kind::Usage, "no platform is among the target's features, and there must be exactly one"),
        (CLOUDS, "gcp-metal", Kind::Usage, "the target has 2 platforms, and there must be exactly one: `gcp`, `metal`"),
        ("gcp platform +a; a element +kvm; kvm platform", "gcp", Kind::Usage,
         "the target has 2 platforms, and there must be exactly one: `gcp`, `kvm` (included by gcp → a)"),
        ("gcp platform; _x flag +gcp", "gcp_x", Kind::Usage, "this target's canonical name would be `_x`, which is no target itself"),
    ];
    for (lines, target, kind, message) in entries {
        let root = folder(lines);
        let graph = load(&root).unwrap();
        let error = graph.resolve(&target.parse::<Target>().unwrap().features).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (*message, *kind), "{target} of {lines}");
        assert!(error.advice().is_some(), "{message}: nothing to do about it");
    }
}

#[test]
fn cycles_are_refused_whatever_the_target() {
    for (lines, message) in [
        ("a element +a", "`a` includes `a`"),
        ("a element -a", "`a` excludes `a`"),
        ("a element +b; b element -a; gcp platform", "`a` includes `b`, `b` excludes `a`"),
        // Neither what refers to the cycle nor what the cycle refers to is named.
        (
            "a element +c; c element +d +z; d flag -e; e flag +c; z element",
            "`c` includes `d`, `d` excludes `e`, `e` includes `c`",
        ),
    ] {
        let error = load(&folder(lines)).unwrap_err();
        assert_eq!(error.to_string(), format!("the features go round in a circle: {message}"));
        assert_eq!(error.kind(), Kind::Verification);
    }
}

#[test]
fn a_name_that_targets_cannot_ask_for_is_explained() {
    let root = folder("gcp platform +my-own; my-own element");
    let graph = load(&root).unwrap();
    assert_eq!(
        graph.resolve(&BTreeSet::from(["gcp".to_owned()])).unwrap().names(),
        ["my-own", "gcp"]
    );
    let error = graph.resolve(&"gcp-my-own".parse::<Target>().unwrap().features).unwrap_err();
    assert!(
        error.advice().unwrap().to_string().starts_with("a target cannot ask for `my-own`"),
        "{:?}",
        error.advice()
    );
}

#[test]
#[rustfmt::skip]
fn a_broken_info_yaml_is_told_with_file_and_line() {
    let entries: &[(&str, &str)] = &[
        ("", " has no `type`"),
        ("description: x\n", " has no `type`"),
        ("description: x\ntype: flavour\n", ", line 2, has an unknown type \"flavour\""),
        ("type: \"\\e[31m\"\n", ", line 1, has an unknown type \"\\u{1b}[31m\""),
        ("type: flag\nfeatures:\n  include:\n    - base\n    - ../base\n", ", line 5, refers to the feature \"../base\", which does not exist"),
        ("type: flag\nfeatures:\n  exclude: [nope]\n", ", line 3, refers to the feature \"nope\", which does not exist"),
        ("type: flag\nfeatures:\n  include: [base]\n  exclude: [base]\n", ", line 4, excludes \"base\", which it also includes"),
        ("type: flag\nfeatures:\n  include: base\n", " is no valid info.yaml: expected sequence start at line 3, column 12"),
        ("type: flag\ntype: element\n", " is no valid info.yaml: duplicate mapping key: type not allowed here at line 2, column 1"),
        ("type: [flag\n", " is no valid info.yaml: …"),
        ("- type: flag\n", " is no valid info.yaml: …"),
        ("type: flag\n---\ntype: flag\n", " is no valid info.yaml: …"),
        ("type: \u{7}flag\n", " is no valid info.yaml: …"),
    ];
    for (info, message) in entries {
        let root = folder("base element");
        write(&root, "broken", info);
        let error = load(&root).unwrap_err();
        let text = error.to_string();
        let expected = format!("{}{message}", root.path("features/broken/info.yaml").display());
        // Where the parser's own words are not worth pinning, a line of the file is named all the same.
        let same = match expected.strip_suffix('…') {
            Some(start) => text.starts_with(start) && text.contains(" at line "),
            None => text == expected,
        };
        assert!(same, "{info:?} gives\n  {text}\ninstead of\n  {expected}");
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(error.kind(), Kind::Verification);
    }
}

#[test]
fn a_large_info_yaml_is_refused() {
    let root = folder("base element");
    write(&root, "long", &format!("type: flag\n#{}\n", "x".repeat(64 * 1024)));
    assert!(
        load(&root)
            .unwrap_err()
            .to_string()
            .ends_with("features/long/info.yaml is larger than 64 KiB")
    );

    let root = folder("base element");
    let mut bomb = "type: flag\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
    }
    write(&root, "bomb", &bomb);
    assert!(
        load(&root)
            .unwrap_err()
            .to_string()
            .contains("features/bomb/info.yaml is no valid info.yaml: ")
    );
}

#[test]
fn only_folders_with_an_info_yaml_are_features() {
    let root = folder("gcp platform");
    let features = root.path("features");
    fs::write(features.join("README.md"), "no feature").unwrap();
    fs::create_dir(features.join("empty")).unwrap();
    fs::create_dir_all(features.join("folder/info.yaml")).unwrap();
    fs::create_dir(features.join("pipe")).unwrap();
    let pipe = features.join("pipe/info.yaml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    write(&root, ".hidden", "type: nonsense\n");
    symlink("gcp", features.join("link")).unwrap();
    assert_eq!(names(&load(&root).unwrap().features()), ["gcp", "link"]);

    write(&root, "a b", "type: flag\n");
    assert!(load(&root).unwrap_err().to_string().ends_with("a b is no name of a feature: \"a b\""));
    assert_eq!(Graph::load(&root.path("nowhere")).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_version_that_is_no_file_is_an_error() {
    let root = folder("gcp platform");
    let version = root.path("VERSION");
    let resolve = || root.osimage(["features", "resolve", "gcp", "--format", "json"]).run();
    rustix::fs::mknodat(rustix::fs::CWD, &version, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let run = resolve();
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("VERSION is not a regular file"), "{run:?}");
    fs::remove_file(&version).unwrap();
    fs::write(&version, "1".repeat(100_000)).unwrap();
    assert_eq!(resolve().code, 5);
    fs::write(&version, "# which\n\n 1.2 \n").unwrap();
    assert!(resolve().stdout.contains("\"version\": \"1.2\""));
}

#[test]
fn unknown_fields_and_empty_lists_are_tolerated() {
    let root = folder("base element");
    let text = "description: |\n  two\n  lines\ntype: platform\nmaintainer: {name: x}\n";
    write(
        &root,
        "gcp",
        &format!("{text}features:\n  include: [base, base]\n  exclude:\n  recommend: [y]\n"),
    );
    write(&root, "_bare", "type: flag\nfeatures:\n");
    let graph = load(&root).unwrap();
    let gcp = graph.features()[1];
    assert_eq!((gcp.name.as_str(), gcp.kind), ("gcp", FeatureType::Platform));
    assert_eq!(gcp.description.as_deref(), Some("two\nlines\n"));
    assert_eq!((gcp.include.as_slice(), gcp.exclude.len()), (&["base".to_owned()][..], 0));
}

#[test]
fn a_long_chain_takes_no_stack() {
    let lines: String = (0..1000).map(|n| format!("e{n} element +e{};", n + 1)).collect();
    let root = folder(&(lines + "e1000 platform"));
    let graph = load(&root).unwrap();
    let selection = graph.resolve(&BTreeSet::from(["e0".to_owned()])).unwrap();
    assert_eq!((selection.features.len(), selection.cname.as_str()), (1001, "e0"));
}

#[test]
fn targets_are_taken_apart() {
    /// What a target should be: its features, architecture, version and commit; nothing if it is
    /// none.
    type Parts =
        Option<(&'static [&'static str], Option<Arch>, Option<&'static str>, Option<&'static str>)>;
    let (amd64, arm64) = (Some(Arch::Amd64), Some(Arch::Arm64));
    #[rustfmt::skip]
    let entries: &[(&str, Parts)] = &[
        ("gcp", Some((&["gcp"], None, None, None))),
        ("gcp-gardener_prod_oci", Some((&["_oci", "_prod", "gardener", "gcp"], None, None, None))),
        ("kvm-pythonDev_trustedBoot", Some((&["_trustedBoot", "kvm", "pythonDev"], None, None, None))),
        ("gcp_oci-amd64", Some((&["_oci", "gcp"], amd64, None, None))),
        ("gcp_oci-arm64-1443.3", Some((&["_oci", "gcp"], arm64, Some("1443.3"), None))),
        // The name of a build is a target.
        ("gcp_oci-arm64-1592.3-0a1b2c3", Some((&["_oci", "gcp"], arm64, Some("1592.3"), Some("0a1b2c3")))),
        ("gcp_oci-arm64-1592.3-0a1b2c3d", Some((&["_oci", "gcp"], arm64, Some("1592.3"), Some("0a1b2c3d")))),
        ("gcp_oci-arm64-today-local", Some((&["_oci", "gcp"], arm64, Some("today"), Some("local")))),
        ("gcp-amd64-1.0-rc1", Some((&["gcp"], amd64, Some("1.0-rc1"), None))),
        ("gcp-amd64-1.0-rc1-0a1b2c3d", Some((&["gcp"], amd64, Some("1.0-rc1"), Some("0a1b2c3d")))),
        ("gcp-amd64-1.0-2", Some((&["gcp"], amd64, Some("1.0-2"), None))),
        ("gcp-arm64-a-b", Some((&["a", "arm64", "b", "gcp"], None, None, None))),
        ("gcp-amd64-amd64-today", Some((&["amd64", "gcp"], amd64, Some("today"), None))),
        ("gcp-riscv64-today", Some((&["gcp", "riscv64", "today"], None, None, None))),
        ("", None),
        ("_oci", None),
        ("-gcp", None),
        ("Gcp", None),
        ("1gcp", None),
        ("gcp-", None),
        ("gcp--x", None),
        ("gcp_", None),
        ("gcp__oci", None),
        ("gcp-_oci", None),
        ("gcp-amd64-1.0-", None),
        ("gcp-amd64-1.0-RC1", None),
        ("gcp/../x", None),
        ("gcp oci", None),
        ("gcp\n", None),
        ("gcp\u{e9}", None),
    ];
    for (text, expected) in entries {
        let parsed = text.parse::<Target>();
        if let Err(error) = &parsed {
            assert_eq!(error.kind(), Kind::Usage);
            assert!(
                error.advice().is_some() && !error.to_string().contains(char::is_control),
                "{error}"
            );
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let expected = expected.map(|(features, arch, version, commit)| {
            let features = features.iter().map(|name| (*name).to_owned()).collect();
            (features, arch, owned(version), owned(commit))
        });
        let parsed =
            parsed.ok().map(|target| (target.features, target.arch, target.version, target.commit));
        assert_eq!(parsed, expected, "{text:?}");
    }
}

/// Eight features in some order, of which each refers only to later ones, so that there is no
/// cycle.
fn any_graph() -> impl Strategy<Value = String> {
    let order = Just(vec![
        "a platform",
        "_b flag",
        "c element",
        "d element",
        "_e flag",
        "f platform",
        "g element",
        "h element",
    ])
    .prop_shuffle();
    let references = proptest::collection::vec(
        prop_oneof![3 => Just(None), 3 => Just(Some('+')), 1 => Just(Some('-'))],
        64,
    );
    (order, references).prop_map(|(order, references)| {
        let mut lines = String::new();
        for (i, feature) in order.iter().enumerate() {
            lines += feature;
            for (j, other) in order.iter().enumerate().skip(i + 1) {
                if let Some(sign) = references[i * order.len() + j] {
                    lines += &format!(" {sign}{}", &other[..other.find(' ').unwrap()]);
                }
            }
            lines += ";";
        }
        lines
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the graph: hooks run after those they depend on, nothing excludes anything any more, all that was asked for is there,
    /// nothing comes from nowhere or is gone without a reason, and the canonical name stands for the same.
    #[test]
    fn a_selection_holds_together(lines in any_graph(), asked in proptest::sample::subsequence(vec!["a", "_b", "c", "d", "_e"], 1..4)) {
        let root = folder(&lines);
        let graph = load(&root).unwrap();
        let asked: BTreeSet<String> = asked.into_iter().map(str::to_owned).collect();
        if let Ok(selection) = graph.resolve(&asked) {
            let place = |name: &String| selection.features.iter().position(|other| other.name == *name);
            prop_assert!(asked.iter().all(|name| place(name).is_some()));
            for (at, feature) in selection.features.iter().enumerate() {
                for included in &feature.include {
                    let fine = place(included).map_or_else(|| selection.dropped.iter().any(|d| d.feature.name == *included), |before| before < at);
                    prop_assert!(fine, "{} includes {included}", feature.name);
                }
                prop_assert!(feature.exclude.iter().all(|name| place(name).is_none()));
                let wanted = selection.features.iter().any(|other| other.include.contains(&feature.name));
                prop_assert!(wanted || asked.contains(&feature.name));
            }
            prop_assert_eq!(selection.of_type(FeatureType::Platform).len(), 1);
            let again = graph.resolve(&selection.cname.parse::<Target>().unwrap().features).unwrap();
            prop_assert_eq!(&again.cname, &selection.cname);
            prop_assert_eq!(again.names(), selection.names());
        }
    }

    /// No text makes the parser panic, and names that could be paths or shell words don't get through.
    #[test]
    fn any_text_is_a_target_or_is_none(text in "[a-z_A-Z0-9.\\-é/ ']{0,20}") {
        if let Ok(target) = text.parse::<Target>() {
            prop_assert!(target.features.iter().all(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')));
        }
    }
}
