//! The page for people: which images there are, what they have, and the lines to boot each by. It
//! needs no script, and comes in one piece.

use std::fmt::Write as _;
use std::sync::Arc;

use super::failure::Failure;
use super::folder::{Folder, From, Served};
use super::images::{Found, Images, blocking};
use crate::image::Role;
use crate::names::Reference;
use crate::{netboot, oci};

/// What browsers make of it: both schemes of colours, and tables that scroll by themselves. Text
/// has the browser's own colours where a browser does not know both.
const STYLE: &str = "\
:root{color-scheme:light dark}\
*{box-sizing:border-box}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:1rem}\
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:0 0 .5rem;overflow-wrap:anywhere}\
h3{font-size:1rem;margin:1rem 0 .25rem}\
section{border:1px solid light-dark(#ccd,#445);border-radius:.5rem;padding:1rem;margin:1rem 0}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}\
dt,caption,footer{color:light-dark(#556,#aab)}dd{margin:0;overflow-wrap:anywhere}\
.scroll{overflow-x:auto;margin-top:.75rem}\
table{border-collapse:collapse;width:100%}caption{text-align:left}\
th,td{text-align:left;padding:.25rem .75rem .25rem 0;white-space:nowrap;\
border-bottom:1px solid light-dark(#ccd,#445)}\
.n{text-align:right}code,pre{font-family:ui-monospace,monospace;font-size:.875rem}\
pre{background:light-dark(#f4f4f8,#1d1f26);padding:.6rem;border-radius:.3rem;margin:.25rem 0;\
white-space:pre-wrap;overflow-wrap:anywhere}\
a{color:light-dark(#0b57d0,#8ab4f8)}\
a:focus-visible,[tabindex]:focus-visible{outline:3px solid light-dark(#0b57d0,#8ab4f8);outline-offset:2px}\
.good{color:light-dark(#0a6b2d,#7fd89a)}.bad{color:light-dark(#b3261e,#f2b8b5)}\
@media(max-width:32rem){dl{grid-template-columns:1fr}dt{margin-top:.4rem}}";

/// Makes the page; `server` is the address by which it was asked for.
pub(super) async fn page(images: &Arc<Images>, server: &str) -> String {
    let mut text = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Images to boot</title>\n",
    );
    let _ = write!(
        text,
        "<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>Images to boot</h1>\n"
    );
    let all = images.shown().await;
    let _ = writeln!(text, "<p>{}</p>\n</header>\n<main>", counted(all.len()));
    for (n, (name, found)) in all.iter().enumerate() {
        let _ = write!(text, "<section aria-labelledby=\"image-{n}\">\n<h2 id=\"image-{n}\">");
        let _ = writeln!(text, "{}</h2>", escaped(&name.to_string()));
        match found {
            Err(failure) => wrong(&mut text, name, failure, images),
            Ok(found) => image(&mut text, n, name, found, images, server).await,
        }
        text.push_str("</section>\n");
    }
    text.push_str(
        "</main>\n<footer>\n<p><a href=\"/metrics\">Metrics</a>, <a href=\"/healthz\">health</a>\
         </p>\n</footer>\n</body>\n</html>\n",
    );
    text
}

fn counted(count: usize) -> String {
    match count {
        0 => "No image has been asked for yet.".to_owned(),
        1 => "One image. Its files lie in one folder each, beside their checksums.".to_owned(),
        n => format!("{n} images. The files of each lie in one folder, beside their checksums."),
    }
}

fn wrong(text: &mut String, name: &Reference, failure: &Failure, images: &Images) {
    log::warn!("{name} is not served: {failure}");
    let told = failure.told(images.cache().layout().path()).to_string();
    let _ = writeln!(text, "<p class=\"bad\">Not served: {}</p>", escaped(&told));
}

async fn image(
    text: &mut String,
    n: usize,
    name: &Reference,
    found: &Arc<Found>,
    images: &Arc<Images>,
    server: &str,
) {
    let signers = match found.signers.as_slice() {
        [] => "nobody; nobody has to".to_owned(),
        all => all.join(", "),
    };
    let _ = writeln!(
        text,
        "<dl>\n<dt>Digest</dt><dd><code>{}</code></dd>\n<dt>Signed by</dt><dd>{}</dd>\n</dl>",
        found.entry.digest,
        escaped(&signers)
    );
    // One of several has its architecture in the address.
    let wanted: Vec<_> = match oci::is_index(&found.entry.media_type) {
        true => images.architectures(found).await.into_iter().map(Some).collect(),
        false => vec![None],
    };
    for arch in wanted {
        let wanted = arch.as_deref().and_then(super::route::architecture);
        match images.folder(found, wanted).await {
            Ok(folder) => {
                let id = format!("{n}-{}", arch.as_deref().unwrap_or("files"));
                files(text, &id, name, arch.as_deref(), &folder, images, server).await;
            }
            Err(failure) => wrong(text, name, &failure, images),
        }
    }
}

async fn files(
    text: &mut String,
    id: &str,
    name: &Reference,
    arch: Option<&str>,
    folder: &Arc<Folder>,
    images: &Arc<Images>,
    server: &str,
) {
    let repository = name.repository();
    let wanted = match (name.tag(), name.digest()) {
        (_, Some(digest)) => digest.to_string(),
        (Some(tag), None) => tag.to_string(),
        (None, None) => return,
    };
    let of_arch = arch.map_or_else(String::new, |arch| format!("/{arch}"));
    let base = format!("/boot/{repository}/{wanted}{of_arch}");
    if let Some(arch) = arch {
        let _ = writeln!(text, "<h3>{}</h3>", escaped(arch));
    }
    let (of, cache) = (folder.clone(), images.cache().clone());
    let there = move || {
        let is_there = |file: &Served| match &file.from {
            From::Memory(_) => true,
            From::Cache { .. } => cache.has_come(&file.descriptor),
        };
        Ok::<_, Failure>(of.files().iter().map(is_there).collect::<Vec<_>>())
    };
    let there = blocking(there).await.unwrap_or_default();
    let _ = write!(
        text,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"files-{id}\">\n\
         <table>\n<caption id=\"files-{id}\">Files of {}</caption>\n<thead><tr><th scope=\"col\">File</th>\
         <th scope=\"col\" class=\"n\">Size</th><th scope=\"col\">SHA-256</th>\
         <th scope=\"col\">Cached</th></tr></thead>\n<tbody>\n",
        escaped(&format!("{name}{of_arch}"))
    );
    for (file, there) in folder.files().iter().zip(there) {
        let (file_name, digest) = (escaped(&file.name), &file.descriptor.digest);
        let address = format!("{base}/{}", in_address(&file.name));
        let cached = if there { "<span class=\"good\">yes</span>" } else { "no" };
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\"><a href=\"{}\">{file_name}</a></th>\
             <td class=\"n\">{}</td><td><code title=\"{digest}\">{}</code></td><td>{cached}</td></tr>",
            escaped(&address),
            size(file.descriptor.size),
            digest.short()
        );
    }
    text.push_str("</tbody>\n</table>\n</div>\n");
    let has = |role| netboot::of_role(folder.known(), role);
    let mut line = |what: &str, line: String| {
        let _ = writeln!(text, "<h3>{what}</h3>\n<pre>{}</pre>", escaped(&line));
    };
    let mut lines = Vec::new();
    if folder.script(server, &[]).is_ok() {
        lines.push(("iPXE", format!("chain {server}{base}/{}", netboot::SCRIPT)));
    }
    if let Some(uki) = has(Role::Uki) {
        lines.push(("UEFI HTTP boot", format!("{server}{base}/{}", uki.name)));
    }
    lines.push(("systemd-sysupdate", format!("Path={server}/sysupdate/{repository}/")));
    if let Some(file) = folder.files().first() {
        lines.push(("curl", format!("curl -fO {server}{base}/{}", in_address(&file.name))));
    }
    for (what, of) in lines {
        line(what, of);
    }
}

/// A size for people.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1}\u{a0}{name}", bytes as f64 / unit as f64),
        None => format!("{bytes}\u{a0}B"),
    }
}

/// A file's name as a part of an address: with `%` for all that means something to browsers, or to
/// the shell into which somebody takes a line.
fn in_address(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Text as it stands in HTML, in values of attributes too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The address of a server, by what a client says of it; `None` for what could be markup, or the
/// beginning of something else.
pub(super) fn server(host: &str, is_plain: bool) -> Option<String> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let is_host = !host.is_empty() && host.chars().all(plain);
    is_host.then(|| format!("http{}://{host}", if is_plain { "" } else { "s" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_is_markup() {
        assert_eq!(
            escaped("<a href='x' title=\"&\">"),
            "&lt;a href=&#39;x&#39; title=&quot;&amp;&quot;&gt;"
        );
        assert_eq!(in_address("os 1.0-a_b~.raw"), "os%201.0-a_b~.raw");
        assert_eq!(in_address("a;$(b)`c`#?%41'ü"), "a%3B%24%28b%29%60c%60%23%3F%2541%27%C3%BC");
        for (host, expected) in [
            ("boot.example:8080", Some("http://boot.example:8080")),
            ("[::1]:80", Some("http://[::1]:80")),
            ("boot_1:80", Some("http://boot_1:80")),
            ("x\"><script>", None),
            ("a/b", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(server(host, true).as_deref(), expected);
        }
        assert_eq!(server("h", false).as_deref(), Some("https://h"));
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0\u{a0}B"),
            (999, "999\u{a0}B"),
            (1_500, "1.5\u{a0}kB"),
            (450_000_000, "450.0\u{a0}MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
