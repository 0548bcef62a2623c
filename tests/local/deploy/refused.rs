//! What must not be written to is refused, and stays as it is.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock};

use super::*;
use crate::common::loops::{Loop, beginning, used};

const SIZE: usize = 5 * MIB;

#[test]
fn what_is_no_disk_and_no_file_is_refused() {
    let scratch = Scratch::new();
    archive(&scratch, "os.oci.tar", &content(1, SIZE));
    fs::create_dir(scratch.path("folder")).unwrap();
    let socket = UnixListener::bind(scratch.path("socket")).unwrap();
    success(Command::new("mkfifo").arg(scratch.path("pipe")), "mkfifo");
    used(&scratch.path("small"), SIZE - 1);
    let small = format!("small has {} bytes, and the image needs {SIZE}", SIZE - 1);
    for (target, code, text) in [
        ("folder", 2, "folder is a folder"),
        ("socket", 2, "socket is a socket"),
        ("pipe", 2, "pipe is a pipe"),
        ("/dev/null", 2, "/dev/null is a character device"),
        ("/dev/no-such-disk", 3, "there is no disk /dev/no-such-disk"),
        ("no/such/folder", 3, "cannot open the folder"),
        ("small", 7, &*small),
        ("os.oci.tar", 7, "os.oci.tar is what the image lies in"),
    ] {
        let run = scratch.osimage(["deploy", "os.oci.tar", target, "--yes"]).run();
        run.says(&[text]).fails(code);
    }
    drop(socket);
    // The layout out of which it comes.
    let layout = layered(&scratch, "os.oci.tar.content", Some("application/vnd.osimage.rootfs.v1"));
    let inside = fs::read_dir(scratch.path("layout/blobs/sha256")).unwrap();
    for blob in inside.map(|entry| entry.unwrap().path()).chain([scratch.path("layout/new")]) {
        let run = scratch.osimage(["deploy", &layout]).arg(&blob).arg("--yes").run();
        run.says(&["lies in the layout that has the image"]).fails(7);
    }
    assert!(fs::read(scratch.path("small")).unwrap().iter().all(|byte| *byte == 0xff));
    // Nobody was asked.
    used(&scratch.path("old"), SIZE);
    let run = scratch.osimage(["deploy", "os.oci.tar", "old"]).run();
    run.says(&["Nobody is there to answer", "--yes"]).fails(2);
    assert!(fs::read(scratch.path("old")).unwrap().iter().all(|byte| *byte == 0xff));
    // A link is followed, and the file behind it told.
    std::os::unix::fs::symlink("old", scratch.path("link")).unwrap();
    let told = scratch.osimage(["deploy", "os.oci.tar", "link", "--yes"]).ok();
    assert!(told.contains("/old "), "{told}");
    assert!(scratch.path("link").is_symlink());
}

#[test]
fn a_file_that_is_used_is_refused() {
    let scratch = Scratch::new();
    archive(&scratch, "os.oci.tar", &content(2, SIZE));
    let path = scratch.path("old");
    used(&path, SIZE);
    let deploy = || scratch.osimage(["deploy", "os.oci.tar", "old", "--yes"]);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    file.lock().unwrap();
    deploy().run().says(&["another program uses"]).fails(7);
    file.unlock().unwrap();
    // As virtual machines do.
    fcntl_lock(&file, FlockOperation::LockShared).unwrap();
    deploy().run().says(&["another program uses"]).fails(7);
    drop(file);
    if let Some(device) = Loop::over(&path, &[], "deploying to a file behind a loop device") {
        let text = format!("lies behind {}", device.str());
        deploy().run().says(&[&text]).fails(7);
        // By another name, too.
        fs::hard_link(&path, scratch.path("other")).unwrap();
        let other = scratch.osimage(["deploy", "os.oci.tar", "other", "--yes"]);
        other.run().says(&[&text]).fails(7);
    }
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0xff));
    deploy().ok();
}

#[test]
fn a_disk_that_is_used_or_cannot_be_written_is_refused() {
    let (scratch, test) = (Scratch::new(), "deploying to a disk that is in use");
    archive(&scratch, "os.oci.tar", &content(3, SIZE));
    let Some(device) = Loop::used(&scratch.path("backing"), SIZE, &[], test) else { return };
    let deploy = || scratch.osimage(["deploy", "os.oci.tar", device.str(), "--yes"]);
    let blockdev = |what: &str| {
        success(Command::new("blockdev").arg(what).arg(&device.path), what);
    };
    blockdev("--setro");
    deploy().run().says(&["is read only"]).fails(7);
    blockdev("--setrw");
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let held = rustix::fs::open(&device.path, flags, Mode::empty()).unwrap();
    deploy().run().says(&["another program uses"]).fails(7);
    drop(held);
    // As tools do that change partitions.
    let locked = File::open(&device.path).unwrap();
    locked.lock().unwrap();
    deploy().run().says(&["another program uses"]).fails(7);
    drop(locked);
    if let Some(upper) = Loop::over(&device.path, &[], test) {
        let text = format!("{} lies behind {}", device.str(), upper.str());
        deploy().run().says(&[&text]).fails(7);
    }
    assert!(beginning(&device.path, SIZE).iter().all(|byte| *byte == 0xff));
    let smaller = Loop::used(&scratch.path("smaller"), SIZE - 4096, &[], test).unwrap();
    let run = scratch.osimage(["deploy", "os.oci.tar", smaller.str(), "--yes"]).run();
    run.says(&[&format!("has {} bytes, and the image needs {SIZE}", SIZE - 4096)]).fails(7);
    let Some(mkfs) = peer("mkfs.ext4") else { return };
    success(Command::new(mkfs).arg("-q").arg(&device.path), "mkfs.ext4");
    let before = beginning(&device.path, SIZE);
    fs::create_dir(scratch.path("mnt")).unwrap();
    // A mount of the test's own, which goes with its namespace.
    let script = "mount -o ro \"$1\" mnt && shift && exec \"$@\"";
    let args = ["-m", "sh", "-c", script, "sh", device.str(), env!("CARGO_BIN_EXE_osimage")];
    let run = scratch.program("unshare").args(args);
    let run = run.args(["deploy", "os.oci.tar", device.str(), "--yes"]).run();
    let place = fs::canonicalize(scratch.path("mnt")).unwrap();
    run.says(&[&format!("{} is mounted at {}", device.str(), place.display())]).fails(7);
    assert!(beginning(&device.path, SIZE) == before);
    deploy().ok();
}
