//! The one thing to do about an error, in the words of this program: its commands and options.

use osimage::Error;
use osimage::error::Advice;

/// What the user can do. `end` tells what goes before the name of an option that is to hold for one
/// registry alone.
pub fn words(advice: &Advice, end: impl Fn(&str) -> &'static str) -> String {
    match advice {
        Advice::LogIn { registry, why: "" } => format!("`osimage login {registry}`"),
        Advice::LogIn { registry, why } => format!("`osimage login {registry}`; {why}"),
        Advice::CredentialsFile { why } => {
            after(why, "--registry-config names another file; `osimage login` makes one")
        }
        Advice::ListTags { repository, why } => {
            after(why, &format!("`osimage tags {repository}` lists its tags"))
        }
        Advice::ListRepositories { registry } => format!(
            "check the name; `osimage repos {registry}` lists what the registry has, where it \
             allows that"
        ),
        Advice::ListImages { why } => after(why, "`osimage list` shows all"),
        Advice::TagImage => {
            "push it to one first; in a store, `osimage tag` gives it a name".into()
        }
        Advice::AddImage => "`osimage build` and `osimage import` put one there".into(),
        Advice::Inspect => "check the digest; `osimage inspect` shows those of an image's blobs, \
                            `osimage manifest` a manifest"
            .into(),
        Advice::Verify => {
            "`osimage verify` lists all that is damaged or missing; get that image again".into()
        }
        Advice::PlainHttp { registry } => {
            format!("--{}plain-http asks without protection; not for production", end(registry))
        }
        Advice::NoPlainHttp { registry } => match end(registry) {
            "" => "leave out --plain-http, or give --plain-http=false; check that a registry \
                   answers there"
                .into(),
            end => format!("give --{end}plain-http=false; check that a registry answers there"),
        },
        Advice::TrustAuthority { registry } => format!(
            "name its authority's certificate with --{}ca-file, or put it into \
             /etc/containers/certs.d/{registry}/",
            end(registry)
        ),
        Advice::TrustCertificate { registry } => format!(
            "name exactly the certificate that it shows with --{}ca-file, or put it into \
             /etc/containers/certs.d/{registry}/",
            end(registry)
        ),
        Advice::NameOfCertificate => {
            "ask for it by a name that its certificate is for; --resolve gives a name an address"
                .into()
        }
        Advice::ClientCertificate => {
            "if it wants a client certificate, give --cert-file and --key-file".into()
        }
        Advice::AllowHttpRedirects => "--allow-http-redirects follows it, where the network \
                                       between is trusted; the content is checked all the same"
            .into(),
        Advice::RunAgain => "run the command again; what has arrived is not sent again".into(),
        Advice::MoveTag => "choose another tag; without --no-clobber the tag would move".into(),
        Advice::ContradictBuild => {
            "publish it under its own name, or leave out --template; --force publishes it so".into()
        }
        Advice::AllowMove => "--move lets the tag move to this image, if that is meant".into(),
        Advice::GiveTag => "give the tag with --tag, or in the target as NAME:TAG; \
                            ./build --version names a version, and IMAGE_VERSION in the \
                            os-release beside the archive does"
            .into(),
        Advice::GiveArchitecture => "say it with --arch amd64 or --arch arm64".into(),
        Advice::Replace => "--replace puts the new one in its place".into(),
        Advice::DeleteTag { reference } => format!("osimage delete --remote {reference}"),
        Advice::CreateIndex => "choose another tag for the index; `osimage index create` makes \
                                one over that image too"
            .into(),
        Advice::Profile { names } => {
            let names: Vec<_> = names.iter().map(|name| format!("`--profile {name}`")).collect();
            format!("{} have one", names.join(", "))
        }
        Advice::Platform => "name an image for it, or leave out --platform".into(),
        Advice::GivePart { role } => format!(
            "give --{role}-file FILE; an onmetal image has a rootfs, an initramfs and a kernel"
        ),
        Advice::NoInfoContainer => "leave out --info-container".into(),
        Advice::GiveType => "attach it with its type: FILE:TYPE and --artifact-type TYPE".into(),
        Advice::RaiseLimit => "name a higher limit if you trust it (--max-size)".into(),
        Advice::NoTopFolder { why } => after(why, "`osimage export` without --top writes none"),
        other => other.to_string(),
    }
}

/// What stands behind `first`, if there is something before it.
fn after(first: &str, then: &str) -> String {
    if first.is_empty() { then.to_owned() } else { format!("{first}; {then}") }
}

/// What lies behind an error, as far as its own words do not say it already.
pub fn causes(error: &Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // The number of the operating system's error tells a user nothing.
        let text = error.to_string();
        let text = text.split(" (os error ").next().unwrap_or_default().trim();
        if !said.contains(text) {
            said.push_str(text);
            causes.push(text.to_owned());
        }
        cause = error.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_say_only_what_is_new() {
        let io = || std::io::Error::from_raw_os_error(2);
        let error = Error::io("read", "x", io());
        assert!(causes(&error).is_empty(), "{:?}", causes(&error));
        let error = Error::network("the connection broke").with_source(io());
        assert_eq!(causes(&error), ["No such file or directory"]);
        let error = Error::network("broke: No such file or directory").with_source(io());
        assert!(causes(&error).is_empty(), "{:?}", causes(&error));
    }

    #[test]
    fn a_hint_has_one_form_with_or_without_a_reason() {
        for (advice, text) in [
            (
                Advice::CredentialsFile { why: String::new() },
                "--registry-config names another file; `osimage login` makes one",
            ),
            (Advice::ListImages { why: "say which".into() }, "say which; `osimage list` shows all"),
            (Advice::Text("check the path".into()), "check the path"),
        ] {
            assert_eq!(words(&advice, |_| ""), text);
        }
    }
}
