//! The program `osimage`: its command line is in [`cli`], all else in the library.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
