//! `osimage serve`: registries as a server for firmware, boot loaders and updaters.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use osimage::lock::ImagesLock;
use osimage::names::Reference;
use osimage::serve::{self, Prefix, Record, Reload, Server, Stop};
use osimage::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::context::{Context, parse_size};
use super::gate::GateArgs;
use super::output;

/// Serve images of registries as files that machines boot from
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage serve ghcr.io/me/os:1.0                              one image, on 127.0.0.1:8080
  osimage serve --listen 0.0.0.0:8080 --allow ghcr.io/me       all of a folder, for a network
  osimage serve --require-signature release.pub --allow ghcr.io/me
  osimage serve --offline --cache /srv/boot ghcr.io/me/os:1.0  from the cache alone
  osimage serve --listen 192.0.2.1:8080 --print-dnsmasq        what DHCP says of it
  curl http://127.0.0.1:8080/boot/ghcr.io/me/os/1.0/vmlinuz

An image is a folder, /boot/HOST/REPOSITORY/TAG or /boot/HOST/REPOSITORY/DIGEST, with /ARCH behind
it for an image of several, and its files lie there beside their SHA256SUMS. What boots is whole and
checked before its first byte goes out; a large layer streams, and its end waits for its digest.
For iPXE there is /boot.ipxe?uuid=…&mac=…&arch=…, for systemd-sysupdate
/sysupdate/HOST/REPOSITORY[/CHANNEL], for clients of registries /v2/HOST/REPOSITORY.

Sockets that systemd hands over take the place of --listen. SIGTERM ends the server after the
answers that have begun, SIGHUP has it read its certificate and --hosts anew.")]
pub struct Args {
    /// Images in registries that may be asked for; a name without a tag stands for all of its
    /// repository
    #[arg(value_name = "REF")]
    images: Vec<String>,
    /// Address to listen on; can be repeated [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Certificate to serve with, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Repositories that may be asked for, by the beginning of their names: HOST, HOST/FOLDER or
    /// HOST/REPOSITORY; can be repeated
    #[arg(long, value_name = "PREFIX")]
    allow: Vec<Prefix>,
    /// Take the digests of images from this lock file, and serve nothing else
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Which machine boots what from /boot.ipxe: machines by UUID and MAC, groups, and all others
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    #[command(flatten)]
    gate: GateArgs,
    /// Folder of the cache, which is a store [default: $CACHE_DIRECTORY, or osimage in the user's
    /// cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// How much the cache may have, in bytes or as 500M, 20G; what was used longest ago goes
    /// [default: as much as comes]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    cache_size: Option<u64>,
    /// Ask no registry, and serve what the cache has
    #[arg(long)]
    offline: bool,
    /// For how many seconds a tag stands for what was found
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    fresh: u64,
    /// Take over what an older version has: a layer's file, a folder of them, a disk; can be
    /// repeated
    #[arg(long, value_name = "PATH")]
    seed: Vec<PathBuf>,
    /// Print the lines with which dnsmasq sends machines to this server, and serve nothing
    #[arg(long, requires = "listen")]
    print_dnsmasq: bool,
    /// Write one JSON object a request on standard error, instead of a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let images = args.images.iter().map(|image| context.reference(image));
    let images = images.collect::<Result<Vec<_>>>()?;
    if args.print_dnsmasq {
        return output::print(&serve::dnsmasq(&server_address(args)?, only(&images)));
    }
    let lock = args.lock.as_deref().map(ImagesLock::load).transpose()?;
    let json = args.json;
    let settings = serve::Settings::new(cache_folder(args)?)
        .cache_size(args.cache_size)
        .allow(args.allow.iter().cloned())
        .images(images)
        .require(args.gate.gate()?.requirements().cloned())
        .lock(lock)
        .hosts(args.hosts.clone())
        .seeds(&args.seed)
        .offline(args.offline)
        .fresh(Duration::from_secs(args.fresh))
        .tls(args.tls_cert.clone().zip(args.tls_key.clone()))
        .observer(move |record| tell(record, json));
    let listeners = listeners(&args.listen)?;
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let addresses: Vec<_> = listeners.iter().filter_map(|it| it.local_addr().ok()).collect();
    let client = context.registry.client(None, context.manner);
    let server = Server::new(settings, client, listeners)?;
    hear(server.stop(), server.reload())?;
    for address in addresses {
        output::say(&format!("osimage: serving on {scheme}://{address}"));
    }
    server.run()
}

/// The address by which machines come to the server.
fn server_address(args: &Args) -> Result<String> {
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    match args.listen.first() {
        Some(address) if address.port() == 0 => {
            Err(Error::usage("machines cannot be sent to a port that is chosen later")
                .with_hint("name the port by which they reach the server with --listen"))
        }
        Some(address) if !address.ip().is_unspecified() => Ok(format!("{scheme}://{address}")),
        _ => Err(Error::usage("machines cannot be sent to every address of this one")
            .with_hint("name the address by which they reach it with --listen")),
    }
}

/// The only one of several images.
fn only(images: &[Reference]) -> Option<&Reference> {
    if let [one] = images { Some(one) } else { None }
}

/// The sockets that were handed over, else those of the addresses.
fn listeners(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let inherited = serve::inherited()?;
    if !inherited.is_empty() && !addresses.is_empty() {
        return Err(Error::usage("systemd hands over sockets, and --listen names others")
            .with_hint("leave out --listen; ListenStream= of the socket unit says where"));
    }
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    let default = [SocketAddr::from(([127, 0, 0, 1], 8080))];
    let addresses = if addresses.is_empty() { &default } else { addresses };
    addresses.iter().map(|address| serve::listen(*address)).collect()
}

fn cache_folder(args: &Args) -> Result<PathBuf> {
    if let Some(folder) = &args.cache {
        return Ok(folder.clone());
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    // systemd.exec(5), CacheDirectory=; then the XDG base directory specification.
    let of_user = || {
        let cache = variable("XDG_CACHE_HOME");
        let cache = cache.or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(cache.join("osimage"))
    };
    variable("CACHE_DIRECTORY").or_else(of_user).ok_or_else(|| {
        Error::usage("there is no home folder to keep a cache in")
            .with_hint("name the cache's folder with --cache")
    })
}

fn tell(record: &Record, json: bool) {
    output::say(&match json {
        true => ascii(&serde_json::to_string(record).unwrap_or_default()),
        false => output::visible(&record.to_string()),
    });
}

/// JSON that says the same in ASCII alone: nothing in it can steer a terminal.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Hears the signals that end the server, or have it read files anew. A second one that ends it
/// does so at once.
fn hear(stop: Stop, reload: Reload) -> Result<()> {
    let failed = |e| Error::io("listen to", "signals", e);
    let mut signals =
        signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let listen = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                match reload.reload() {
                    Ok(()) => output::say("osimage: read anew"),
                    Err(e) => output::say(&format!("osimage: nothing was read anew: {e}")),
                }
            } else if stopping {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            } else {
                stopping = true;
                stop.stop();
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(failed)?;
    Ok(())
}
