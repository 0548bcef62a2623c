//! Who is asked sees what will be lost.

use std::fs;

use super::*;
use crate::common::loops::used;
use crate::common::terminal::Terminal;

const SIZE: usize = 16 * MIB;

#[test]
fn whoever_is_asked_sees_what_will_be_lost() {
    let (scratch, content) = (Scratch::new(), content(1, SIZE));
    archive(&scratch, "os.oci.tar", &content);
    let path = scratch.path("disk");
    used(&path, SIZE);
    if !partitioned(&path, &[("old \u{202e}root", 4)]) {
        return;
    }
    let before = fs::read(&path).unwrap();
    for (answer, code) in [("n\n", 7), ("\n", 7), ("yes\n", 0)] {
        let mut terminal = Terminal::new(80);
        let mut child = terminal.start(&scratch, &["deploy", "os.oci.tar", "disk"]);
        terminal.wait_for("[y/N] ");
        // A label steers no terminal.
        for text in ["disk, 16.8 MB", "old \\u{202e}root", "4.2 MB", "Lose all that is there"] {
            assert!(terminal.shown.contains(text), "{text} in {:?}", terminal.shown);
        }
        assert!(fs::read(&path).unwrap() == before);
        terminal.type_in(answer);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{answer:?}");
        assert_eq!(fs::read(&path).unwrap() == before, code != 0, "{answer:?}");
    }
    assert!(fs::read(&path).unwrap() == content);
}
