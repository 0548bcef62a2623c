//! A boot server of one's own: serves the images of some repositories on a free port of this
//! machine, tells of each request, and ends when its standard input does.
//!
//! ```sh
//! cargo run --example boot_server -- cache ghcr.io/me
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it does")]

use osimage::registry::credentials::Credentials;
use osimage::registry::{self, Client};
use osimage::serve::{self, Prefix, Server, Settings};
use osimage::{Error, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(cache) = args.next() else {
        eprintln!("usage: boot_server CACHE PREFIX…");
        std::process::exit(2);
    };
    let prefixes = args.map(|prefix| prefix.parse()).collect::<Result<Vec<Prefix>>>()?;
    let client = Client::new(registry::Settings::new(), Credentials::from_env(Vec::new()));
    let settings = Settings::new(cache).allow(prefixes).observer(|record| println!("{record}"));

    let socket = serve::listen(([127, 0, 0, 1], 0).into())?;
    let address = socket.local_addr().map_err(|e| Error::io("look at", "the socket", e))?;
    let server = Server::new(settings, client, vec![socket])?;
    let stop = server.stop();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.stop();
    });
    println!("http://{address}");
    server.run()
}
