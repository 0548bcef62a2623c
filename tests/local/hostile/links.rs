//! Links, pipes and sockets in the place of files and folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::common::Scratch;
use crate::common::hostile::*;
use osimage::digest::Digest;

/// Replaces a file in a layout by something that looks right from far.
fn replaced(scratch: &Scratch, path: &Path, by: &str) {
    let moved = scratch.path("moved");
    let _ = fs::remove_dir_all(&moved);
    let _ = fs::remove_file(&moved);
    fs::rename(path, &moved).unwrap();
    match by {
        "link" => symlink(&moved, path).unwrap(),
        "fifo" => drop(scratch.program("mkfifo").arg(path).ok()),
        "folder" => fs::create_dir(path).unwrap(),
        "socket" => {
            // The path of a socket must be short.
            let short = scratch.path("socket");
            drop(UnixListener::bind(&short).unwrap());
            fs::rename(short, path).unwrap();
        }
        "dangling link" => symlink(scratch.path("nothing"), path).unwrap(),
        "device" => symlink("/dev/zero", path).unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_link_a_pipe_or_a_socket_in_the_place_of_a_file_is_refused() {
    let scratch = Scratch::new();
    victim(&scratch);
    for (n, by) in
        ["link", "fifo", "folder", "socket", "dangling link", "device"].into_iter().enumerate()
    {
        for (file, list_works) in [
            ("layer", true),
            ("manifest", true),
            ("config", true),
            ("index.json", false),
            ("oci-layout", false),
        ] {
            let name = format!("evil-{n}-{file}");
            let layout = layout_with_manifest(&scratch, &name, |layout| {
                manifest(layout, &[layer(layout, KERNEL, "a kernel", "")])
            });
            let path = match file {
                "layer" => layout.join("blobs/sha256").join(Digest::of(b"a kernel").hex()),
                "config" => {
                    layout.join("blobs/sha256").join(Digest::of(EVIL_CONFIG.as_bytes()).hex())
                }
                "manifest" => {
                    let json = manifest(&layout, &[layer(&layout, KERNEL, "a kernel", "")]);
                    layout.join("blobs/sha256").join(Digest::of(json.as_bytes()).hex())
                }
                file => layout.join(file),
            };
            replaced(&scratch, &path, by);
            refused_by_all(&scratch, &name);
            scratch.osimage(["gc", &format!("./{name}")]).fails(5);
            assert_eq!(
                scratch.osimage(["list", &format!("./{name}")]).run().code == 0,
                list_works,
                "{by} for {file}"
            );
            assert!(scratch.path("moved").exists());
        }
    }
}

#[test]
fn a_linked_folder_of_content_leads_no_command_out_of_the_layout() {
    for linked in ["blobs", "blobs/sha256"] {
        let scratch = Scratch::new();
        victim(&scratch);
        let layout = layout_with_manifest(&scratch, "evil", |layout| {
            manifest(layout, &[layer(layout, KERNEL, "a kernel", "")])
        });
        // What is outside holds the right content, and a file that gc would free.
        fs::rename(layout.join(linked), scratch.path("outside")).unwrap();
        symlink(scratch.path("outside"), layout.join(linked)).unwrap();
        let content = if linked == "blobs" {
            scratch.path("outside/sha256")
        } else {
            scratch.path("outside")
        };
        fs::write(content.join("a".repeat(64)), "unreached").unwrap();
        fs::write(content.join(".osimage-1-1.tmp"), "left behind").unwrap();
        let count = || fs::read_dir(&content).unwrap().count();
        let before = count();
        refused_by_all(&scratch, "evil");
        let [_, _, kernel] = scratch.parts(1).map(|path| path.to_str().unwrap().to_owned());
        for args in [
            ["gc", "./evil"].as_slice(),
            &["delete", "./evil:evil:1"],
            &["--store-path", "evil", "gc"],
            &["--store-path", "evil", "tag", "evil:1", "evil:2"],
            &["--store-path", "evil", "build", "--profile", "native", "--kernel-file", &kernel],
            &["--store-path", "evil", "import", "./store"],
        ] {
            // A name alone can be given where only the folder below is a link: nothing of the
            // content is touched.
            if !(linked == "blobs/sha256" && args.contains(&"tag")) {
                scratch.osimage(args).fails(5);
            }
        }
        assert_eq!(count(), before, "{linked}: something outside was removed or added");
    }
}
