//! What each way wants of an image.

use super::root::Root;
use super::{Facts, Way};
use crate::error::Advice;
use crate::finding::Finding;
use crate::image::{Layer, Profile, Role};
use crate::netboot::{ipxe, sysupdate};
use crate::oci::Platform;
use crate::platform::{self, Wanted};

/// Beyond this size some firmware gives up while it fetches, in bytes; EDK II keeps the whole file in
/// memory, and while it is started a second time.
const LARGE_FOR_FIRMWARE: u64 = 512 << 20;
/// A portable executable says its size in 32 bits.
const MAX_EXECUTABLE: u64 = u32::MAX as u64;
/// Whose types boot-operator knows.
const BOOT_OPERATOR: [Profile; 2] = [Profile::Ironcore, Profile::Gardenlinux];

/// What there is to say of a way.
pub(super) fn findings(facts: &Facts, way: Way) -> Vec<Finding> {
    let mut said = Said { facts, findings: Vec::new() };
    said.architecture();
    match way {
        Way::Qemu => said.qemu(),
        Way::Ipxe => said.ipxe(),
        Way::UefiHttp => said.uefi_http(),
        Way::BootOperator => said.boot_operator(),
        Way::Sysupdate => said.sysupdate(),
        Way::Deploy => said.deploy(),
    }
    said.findings
}

/// What was said until now.
struct Said<'a> {
    facts: &'a Facts,
    findings: Vec<Finding>,
}

impl Said<'_> {
    fn has(&mut self, what: impl Into<String>) {
        self.findings.push(Finding::has(what));
    }

    fn note(&mut self, what: impl Into<String>, remedy: &str) {
        self.findings.push(Finding::note(what).remedy(remedy));
    }

    fn lacks(&mut self, what: impl Into<String>, remedy: &str) {
        self.findings.push(Finding::lacks(what).remedy(remedy));
    }

    fn layer(&self, role: Role) -> Option<Layer> {
        self.facts.image.layers().into_iter().find(|layer| layer.role == Some(role))
    }

    fn is_there(&self, role: Role) -> bool {
        self.layer(role).is_some()
    }

    /// What the image says it is for, and what its kernels are for.
    fn architecture(&mut self) {
        let annotated = self.facts.image.manifest.annotations.get("architecture");
        let said = match &self.facts.platform {
            Some(platform) => Some(platform.architecture.clone()),
            None => annotated.map(str::to_owned),
        };
        let parts = [("kernel", &self.facts.kernel), ("unified kernel image", &self.facts.uki)];
        for (name, part) in parts {
            let Some(own) = part.as_ref().and_then(|part| part.architecture) else { continue };
            let same = |said: &String| {
                platform::is_same(
                    &Platform::new("linux", said.as_str()),
                    &Platform::new("linux", own),
                )
            };
            match &said {
                Some(said) if !same(said) => self.lacks(
                    format!("the image says that it is for {said}, and its {name} is for {own}"),
                    "pack the files of one architecture, and name that",
                ),
                Some(_) => self.has(format!("a {name} for {own}, as the image says")),
                None => {
                    self.has(format!("a {name} for {own}; the image does not say for what it is"));
                }
            }
        }
    }

    /// Whether what `root=` names is in the image.
    fn root_is_found(&mut self) {
        let Some(line) = &self.facts.command_line else { return };
        let mut words =
            line.split(' ').filter_map(|word| word.trim_matches('"').strip_prefix("root="));
        let Some(root) = words.next_back() else {
            let remedy = "add root= to the command line, unless the initramfs finds it by itself";
            return self.note("the command line has no root=", remedy);
        };
        let (root, there) = (root.to_owned(), self.facts.root.as_ref());
        match there.and_then(|there| there.has(&root)) {
            Some(true) => self.has(format!("root={root} is in its root file system")),
            Some(false) => {
                let told = there.map(Root::told).unwrap_or_default();
                let what = format!("root={root} is not in its root file system, which is {told}");
                self.lacks(what, "give the file system that label, or name what it has");
            }
            None => {}
        }
    }

    fn qemu(&mut self) {
        let disk = matches!(self.facts.root, Some(Root::Disk { .. } | Root::DosDisk));
        let kernel = self.is_there(Role::Kernel);
        match (kernel, self.is_there(Role::Uki), disk) {
            (true, ..) => self.has("a kernel"),
            (false, true, _) => self.has("a unified kernel image, which UEFI starts"),
            (false, false, true) => {
                self.has("a disk, which starts by itself where it has a boot loader");
            }
            (false, false, false) => {
                self.lacks(
                    "neither a kernel nor a disk",
                    "pack a kernel, or a disk with a boot loader",
                );
            }
        }
        if kernel && !self.is_there(Role::Initramfs) {
            let remedy = "pack one, unless the kernel has what its root file system needs built in";
            self.note("no initramfs", remedy);
        }
        let is_tar = matches!(self.facts.root, Some(Root::Tar));
        if is_tar || !(self.is_there(Role::Rootfs) || self.is_there(Role::Squashfs)) {
            self.lacks("no image of a root file system", "pack one, as a disk or a file system");
        } else if let Some(root) = self.facts.root.as_ref().or(self.facts.squashfs.as_ref()) {
            self.has(root.told());
        }
        match &self.facts.command_line {
            None if kernel => self.lacks("no command line", "pack one, with root= in it"),
            Some(line) if !line.contains("console=ttyS") && !line.contains("console=ttyAMA") => {
                self.note("nothing goes to a serial console", "console=ttyS0 in the command line");
            }
            _ => {}
        }
        self.root_is_found();
    }

    fn ipxe(&mut self) {
        let line = self.facts.command_line.as_deref();
        let name = |file: &crate::netboot::Served| Ok(file.name.clone());
        match ipxe::script(&self.facts.image, line, &[], &name) {
            Ok(_) if self.is_there(Role::Kernel) => self.has("a kernel, and a script for it"),
            Ok(_) => self.note(
                "no kernel but a unified kernel image, which only an iPXE under UEFI starts",
                "pack the kernel and the initramfs too, for machines with a BIOS",
            ),
            Err(e) => {
                let remedy = match e.advice() {
                    Some(Advice::Text(text)) => text,
                    _ => "pack a kernel".to_owned(),
                };
                self.lacks(e.to_string(), &remedy);
            }
        }
        if self.is_there(Role::Kernel) {
            if !self.is_there(Role::Initramfs) {
                self.note("no initramfs", "pack one that finds the root file system");
            }
            if line.is_none() {
                self.note("no command line", "pack one, or append what is needed to the script");
            }
        }
        self.comes_by_network(true);
    }

    /// Where the root file system comes from, on a machine that boots by the network.
    fn comes_by_network(&mut self, by_script: bool) {
        let annotations = &self.facts.image.manifest.annotations;
        if by_script && annotations.get(ipxe::NETBOOT_WORDS).is_some() {
            return self.has("words for the command line with which its root comes by the network");
        }
        let local = self.facts.command_line.as_deref().is_some_and(|line| {
            let mut words = line.split(' ').filter_map(|word| word.strip_prefix("root="));
            words.any(|root| {
                root.starts_with("LABEL=") || root.starts_with("UUID=") || root.starts_with("/dev/")
            })
        });
        let by_loop =
            self.facts.command_line.as_deref().is_some_and(|line| {
                line.contains("rd.systemd.pull=") || line.contains("by-loop-ref")
            });
        if local && !by_loop {
            let remedy =
                "write the image's disk to the machine, or pack a root that the initramfs fetches";
            self.note("root= means a disk of the machine", remedy);
        }
    }

    fn uefi_http(&mut self) {
        if let Some(fault) = self.facts.uki_fault.clone() {
            return self.lacks(fault, "make it anew, with ukify");
        }
        let (Some(layer), Some(uki)) = (self.layer(Role::Uki), self.facts.uki.clone()) else {
            return self.lacks("no unified kernel image", "make one, with ukify, and pack it");
        };
        if uki.is_unified() {
            self.has(format!("a unified kernel image with {}", uki.sections.join(", ")));
        } else {
            self.lacks("an executable for UEFI without .linux", "make it anew, with ukify");
        }
        for (section, remedy) in [
            (".initrd", "give ukify the initramfs, unless the kernel needs none"),
            (".cmdline", "give ukify the command line; nothing else tells the kernel of one"),
        ] {
            if !uki.sections.iter().any(|name| name == section) {
                self.note(format!("no {section} in it"), remedy);
            }
        }
        match uki.is_signed {
            true => self.has("a signature for Secure Boot"),
            false => {
                self.note(
                    "no signature for Secure Boot",
                    "sign it, or let the machines do without",
                );
            }
        }
        let size = layer.content.size;
        if size > MAX_EXECUTABLE {
            self.lacks(
                format!("it has {size} bytes, and UEFI starts none of 4 GiB"),
                "make it smaller",
            );
        } else if size > LARGE_FOR_FIRMWARE {
            let what = format!("it has {} MiB, all of which firmware keeps in memory", size >> 20);
            self.note(what, "leave the root file system out of it");
        }
        self.comes_by_network(false);
    }

    fn boot_operator(&mut self) {
        let layers = self.facts.image.layers();
        let has = |role: Role| {
            layers.iter().any(|layer| {
                let own =
                    |profile: &Profile| profile.has_media_type(role, &layer.descriptor.media_type);
                layer.role == Some(role) && BOOT_OPERATOR.iter().any(own)
            })
        };
        let by_ipxe = [Role::Kernel, Role::Initramfs, Role::Squashfs];
        let missing: Vec<_> =
            by_ipxe.into_iter().filter(|role| !has(*role)).map(Role::name).collect();
        match (missing.is_empty(), has(Role::Uki)) {
            (true, _) => {
                self.has("kernel, initramfs and squashfs under types that it knows, for iPXE");
            }
            (false, true) => {
                self.has("a unified kernel image under a type that it knows, for UEFI");
            }
            (false, false) => {
                let profile = self.facts.image.profile();
                let known = profile.is_some_and(|profile| BOOT_OPERATOR.contains(&profile));
                let remedy = match known {
                    true => "pack them too; for UEFI a unified kernel image alone is enough",
                    false => "pack or convert it with the profile ironcore, whose types it knows",
                };
                let what = format!("no {} under types that it knows", missing.join(", "));
                self.lacks(what, remedy);
            }
        }
        if self.facts.platform.is_none() {
            let remedy = "join the images of all architectures under an index";
            self.note("no index says for which architecture it is", remedy);
        }
    }

    fn sysupdate(&mut self) {
        let tag = self.facts.tag.clone();
        let any: Vec<_> = tag.iter().map(ToString::to_string).collect();
        // `1.0-arm64` is a version for those machines.
        let of = any.first().and_then(|tag| tag.rsplit_once('-')).map(|(_, end)| end);
        let architecture = of.and_then(|end| end.parse().ok()).unwrap_or_else(Wanted::any);
        match (sysupdate::versions(&any, &architecture).first(), &tag) {
            (Some(version), _) => self.has(format!("the version {}", version.version)),
            (None, Some(tag)) => self.lacks(
                format!("its tag {tag} is no version"),
                "give it a tag that begins with a digit",
            ),
            (None, None) => {
                self.note("no tag", "give it one that begins with a digit, in a registry");
            }
        }
        let kept = [Role::Squashfs, Role::Rootfs];
        let Some(root) = kept.into_iter().find(|role| self.is_there(*role)) else {
            return match self.is_there(Role::Uki) {
                true => self.has("a unified kernel image, which is all that there is to update"),
                false => self.lacks(
                    "nothing to update",
                    "pack a root file system or a unified kernel image",
                ),
            };
        };
        let found = if root == Role::Rootfs { &self.facts.root } else { &self.facts.squashfs };
        match found {
            Some(Root::FileSystem(found)) => self.has(format!("{found}, for a slot")),
            Some(Root::Disk { .. } | Root::DosDisk) => self.note(
                "its root file system is a whole disk, which goes into no partition",
                "keep the versions as files, or pack the file system alone",
            ),
            Some(Root::Tar) => {
                self.lacks("its root file system is a tar", "pack an image of the file system");
            }
            _ => self.note("what its root file system is, is not known", "look at what was packed"),
        }
        if !self.is_there(Role::Uki) {
            let remedy = "pack a unified kernel image: systemd-boot counts its tries and goes back";
            self.note("no unified kernel image", remedy);
        }
    }

    fn deploy(&mut self) {
        let Some(root) = self.facts.root.clone() else {
            return self.lacks("no disk", "pack one, as the root file system");
        };
        match &root {
            Root::Disk { sector, .. } => {
                self.has(format!("{}, for sectors of {sector} bytes", root.told()));
            }
            Root::DosDisk => self.has(root.told()),
            Root::FileSystem(_) => self.note(
                format!("{}, and no disk: for a partition alone", root.told()),
                "write it to a partition, or pack a disk with a boot loader",
            ),
            Root::Tar => self.lacks("a tar, and no disk", "pack an image of a disk"),
            Root::Unknown => {
                self.note("what it begins with is not known", "look at what was packed");
            }
        }
        if let Root::Disk { partitions, .. } = &root
            && !partitions.iter().any(|(partition, _)| partition.boots())
        {
            let remedy = "make one, of the type EFI system or BIOS boot, with a boot loader";
            self.lacks("no partition that firmware starts from", remedy);
        }
        self.root_is_found();
    }
}
