//! What a DHCP server tells machines, so that they come to this one: the lines for dnsmasq.

use crate::names::Reference;

/// The lines for dnsmasq, for a server at an address such as `http://192.0.2.1:8080`. Where `image`
/// is given, firmware that boots over HTTP is sent to its unified kernel image.
///
/// An iPXE says who it is; firmware for HTTP boot takes an answer only where that says its own
/// class (UEFI specification, 24.7); all others get an iPXE by TFTP first.
pub fn dnsmasq(server: &str, image: Option<&Reference>) -> String {
    let uki = image.and_then(|image| {
        let wanted = image.tag_or_digest().ok()?;
        Some(format!("{server}/boot/{}/{wanted}/uki.efi", image.repository()))
    });
    let http = match uki {
        Some(uki) => format!(
            "dhcp-vendorclass=set:uefi-http,HTTPClient\n\
             dhcp-option-force=tag:uefi-http,60,HTTPClient\n\
             dhcp-boot=tag:uefi-http,{uki}\n"
        ),
        None => "# Of several images nothing tells which one a firmware is to boot by itself.\n"
            .to_owned(),
    };
    format!(
        "# For a dnsmasq that gives out addresses (dhcp-range=192.0.2.100,192.0.2.200), or that stands\n\
         # beside another DHCP server (dhcp-range=192.0.2.0,proxy).\n\
         \n\
         # An iPXE asks the server what its machine boots.\n\
         dhcp-userclass=set:ipxe,iPXE\n\
         dhcp-boot=tag:ipxe,{server}/boot.ipxe?uuid=${{uuid}}&mac=${{net0/mac:hexhyp}}&arch=${{buildarch}}\n\
         \n\
         # UEFI HTTP boot.\n\
         {http}\
         \n\
         # All others load an iPXE first: undionly.kpxe and snponly.efi of the package ipxe.\n\
         enable-tftp\n\
         tftp-root=/srv/tftp\n\
         dhcp-match=set:efi,option:client-arch,7\n\
         dhcp-match=set:efi,option:client-arch,11\n\
         dhcp-boot=tag:!ipxe,tag:!uefi-http,tag:efi,snponly.efi\n\
         dhcp-boot=tag:!ipxe,tag:!uefi-http,tag:!efi,undionly.kpxe\n"
    )
}
