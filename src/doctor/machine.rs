//! What this machine has: processors, room, certificates, proxies, credentials, and what of the
//! kernel some work needs.

use std::path::{Path, PathBuf};

use url::Url;

use super::{Tell, Told};
use crate::finding::{Finding, Level};
use crate::registry::credentials::{Credentials, Place};
use crate::registry::tls;
use crate::words;

/// With less room than this, in bytes, hardly an image fits.
const LITTLE_ROOM: u64 = 2 << 30;
/// What proxies are named by, as curl and Go read it.
const PROXIES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];

/// Tells what this machine has. `credentials` are those that registries would be shown; `folders`
/// are what is written to, each with what it is for.
pub fn machine(credentials: &Credentials, folders: &[(&str, PathBuf)], tell: &mut Tell<'_>) {
    let mut told = Told(tell);
    told.say("osimage", version());
    told.say("processors", processors());
    for finding in kernel() {
        told.say("kernel", finding);
    }
    for (what, path) in folders {
        told.say("disk", room(what, path));
    }
    told.say("certificates", certificates());
    for finding in proxies() {
        told.say("proxy", finding);
    }
    for finding in stored(credentials) {
        told.say("credentials", finding);
    }
}

fn version() -> Finding {
    let keyless = if cfg!(feature = "keyless") { ", with keyless signatures" } else { "" };
    Finding::has(format!("{} for {}{keyless}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH))
}

fn processors() -> Finding {
    match std::thread::available_parallelism() {
        Ok(count) => Finding::has(format!("{count}, for packing and unpacking")),
        Err(e) => Finding::note(format!("how many there are is not known ({e}); one is used")),
    }
}

/// What some work needs of the kernel.
fn kernel() -> Vec<Finding> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut findings = vec![Finding::has(format!("Linux {}", words::foreign(release.trim())))];
    let device =
        |path: &str, there: &str, missing: &str, remedy: &str| match Path::new(path).exists() {
            true => Finding::has(format!("{path}, {there}")),
            false => Finding::note(format!("no {path}: {missing}")).remedy(remedy),
        };
    findings.push(device(
        "/dev/loop-control",
        "for writing an image to a loop device",
        "an image can be written to no loop device",
        "modprobe loop; in a container, give it the device",
    ));
    findings.push(device(
        "/dev/kvm",
        "by which QEMU may start images at full speed",
        "QEMU starts images slowly",
        "enable virtualisation in the firmware; in a container, give it the device",
    ));
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    findings.push(match limit.trim() {
        "" | "0" => Finding::note("no user namespaces: a system is built by root alone")
            .remedy("sysctl user.max_user_namespaces=10000"),
        _ => Finding::has("user namespaces, for building a system without root"),
    });
    findings
}

/// How much room there is where something is written to.
fn room(what: &str, path: &Path) -> Finding {
    // What is not there yet is made in the first folder above that is.
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let shown = words::foreign(&path.display().to_string());
    let Ok(stat) = rustix::fs::statvfs(there) else {
        return Finding::lacks(format!("{shown}, {what}, cannot be looked at"));
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{:.1} GiB free in {shown}, {what}", free as f64 / f64::from(1 << 30));
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
        return Finding::note(format!("{shown}, {what}, cannot be written to"))
            .remedy("check who owns it and its mode, or name another");
    }
    match free < LITTLE_ROOM {
        true => Finding::note(text).remedy("free some space there, or name another folder"),
        false => Finding::has(text),
    }
}

fn certificates() -> Finding {
    let (count, faults) = tls::authorities();
    let faults: Vec<_> = faults.iter().map(|fault| words::foreign(fault)).collect();
    let faults = if faults.is_empty() { String::new() } else { format!("; {}", faults.join("; ")) };
    match count {
        0 => Finding::lacks(format!("no authority's certificate is on this machine{faults}"))
            .remedy("install the package ca-certificates"),
        _ if !faults.is_empty() => Finding::note(format!("{count} authorities{faults}")),
        _ => Finding::has(format!("{count} authorities")),
    }
}

/// The proxies that the environment names, without their passwords.
fn proxies() -> Vec<Finding> {
    let variable = |name: &str| {
        [name.to_owned(), name.to_ascii_lowercase()]
            .into_iter()
            .find_map(|name| Some((std::env::var(&name).ok().filter(|v| !v.is_empty())?, name)))
    };
    let mut findings: Vec<_> = PROXIES
        .into_iter()
        .filter_map(variable)
        .map(|(value, name)| {
            // A proxy may be named without a scheme.
            let url = match value.contains("://") {
                true => Url::parse(&value),
                false => Url::parse(&format!("http://{value}")),
            };
            match url.as_ref().map(Url::host_str) {
                Ok(Some(host)) => {
                    let port = url.iter().filter_map(Url::port).map(|port| format!(":{port}"));
                    Finding::has(format!("{name}={host}{}", port.collect::<String>()))
                }
                _ => Finding::lacks(format!("{name} is not the address of a proxy"))
                    .remedy("it is http://HOST:PORT, or is not set"),
            }
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::has("none"));
    } else if let Some((value, name)) = variable("NO_PROXY") {
        findings.push(Finding::has(format!("{name}={}", words::foreign(&value))));
    }
    findings
}

/// Where credentials lie, and what is wrong there.
fn stored(credentials: &Credentials) -> Vec<Finding> {
    let told = |place: &Place| match place {
        Place::File { path, registries, helpers } => {
            let path = words::foreign(&path.display().to_string());
            let held = match registries.as_slice() {
                [] => "no registry".to_owned(),
                names => words::foreign(&names.join(", ")),
            };
            let lacking: Vec<_> =
                helpers.iter().filter(|(_, there)| !there).map(|(name, _)| name.as_str()).collect();
            let named: Vec<_> = helpers.iter().map(|(name, _)| name.as_str()).collect();
            let helped = match named.as_slice() {
                [] => String::new(),
                names => format!("; asks {}", words::foreign(&names.join(", "))),
            };
            match lacking.first() {
                Some(name) => Finding::lacks(format!(
                    "{path} names {}, which is not installed",
                    words::foreign(name)
                ))
                .remedy("install it, or take its name out of the file"),
                None => Finding::has(format!("{path}: {held}{helped}")),
            }
        }
        Place::Fault(error) => Finding::of(Level::Lacks, error),
    };
    let findings: Vec<_> = credentials.places().iter().map(told).collect();
    match findings.is_empty() {
        true => vec![Finding::note("none are stored: registries are asked as anybody may ask")],
        false => findings,
    }
}
