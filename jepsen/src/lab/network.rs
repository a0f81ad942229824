//! The lab's wires: one bridge, a veth and a network namespace per machine, packet drops inside a namespace, and the firewall
//! rules that let bridged packets through. Called by lab, machine and sweep; must never change a rule or interface it did not make.

use crate::lab::identity::{LabId, MachineNumber};
use crate::lab::shell::{run, run_with_input};
use anyhow::{Context, Result};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const NETNS_DIR: &str = "/run/netns";

pub(super) fn netns_name(lab: LabId, machine: &str) -> String {
    format!("{}{machine}", lab.netns_prefix())
}

pub(super) fn netns_path(lab: LabId, machine: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(netns_name(lab, machine))
}

/// Makes the bridge with the client's address, and lets its packets through this machine's firewall.
pub(super) fn create_bridge(lab: LabId) -> Result<()> {
    let bridge = lab.bridge();
    let address = format!("{}/24", lab.client_ip());
    run("ip", &["link", "add", &bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"])?;
    run("ip", &["link", "set", &bridge, "addrgenmode", "none"])?;
    run("ip", &["addr", "add", &address, "dev", &bridge])?;
    run("ip", &["link", "set", &bridge, "up"])?;
    open_firewall(lab)
}

pub(super) fn remove_bridge(lab: LabId) -> Result<()> {
    close_firewall(lab);
    let bridge = lab.bridge();
    if interfaces().contains(&bridge) {
        run("ip", &["link", "delete", &bridge])?;
    }
    Ok(())
}

/// dockerd sets the FORWARD policy to DROP, and with bridge-nf-call-iptables that holds for bridged packets too, so machines
/// could not see each other. The switch itself is the machine's and stays; two rules for our bridge alone suffice.
fn firewall_rules(lab: LabId) -> [Vec<String>; 2] {
    let bridge = lab.bridge();
    let rule = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    [rule(&["FORWARD", "-i", &bridge, "-o", &bridge, "-j", "ACCEPT"]), rule(&["INPUT", "-i", &bridge, "-j", "ACCEPT"])]
}

/// The iptables variants in use. The legacy one only when its tables are loaded already: merely asking it would load them.
fn firewall_tools() -> Vec<&'static str> {
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").is_ok_and(|t| t.lines().any(|l| l == "filter"));
    let mut tools = vec!["iptables"];
    if legacy && run("iptables-legacy", &["--version"]).is_ok() {
        tools.push("iptables-legacy");
    }
    tools
}

fn open_firewall(lab: LabId) -> Result<()> {
    for tool in firewall_tools() {
        for rule in firewall_rules(lab) {
            firewall(tool, "-I", &rule).context("cannot let the lab's packets through the firewall")?;
        }
    }
    Ok(())
}

fn close_firewall(lab: LabId) {
    for tool in firewall_tools() {
        for rule in firewall_rules(lab) {
            // Until it says that there is no such rule; a crash in the middle may have left any number.
            for _ in 0..8 {
                if firewall(tool, "-D", &rule).is_err() {
                    break;
                }
            }
        }
    }
}

fn firewall(tool: &str, action: &str, rule: &[String]) -> Result<String> {
    let mut args = vec!["-w", "10", action];
    args.extend(rule.iter().map(String::as_str));
    run(tool, &args)
}

/// Firewall rules that name the lab's bridge.
pub(super) fn firewall_leftovers(lab: LabId) -> Vec<String> {
    let bridge = lab.bridge();
    let listed = firewall_tools().into_iter().filter_map(|tool| run(tool, &["-w", "10", "-S"]).ok());
    listed.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>()).filter(|l| l.split(' ').any(|w| w == bridge)).collect()
}

/// Makes a machine's network namespace, its veth to the bridge, address, default route and the (empty) drop table.
pub(super) fn create_machine_net(lab: LabId, machine: &str, number: MachineNumber) -> Result<()> {
    let netns = netns_name(lab, machine);
    let (veth, bridge) = (lab.veth(number), lab.bridge());
    run("ip", &["netns", "add", &netns])?;
    run("ip", &["link", "add", &veth, "type", "veth", "peer", "name", "eth0", "address", &number.mac(lab), "netns", &netns])?;
    run("ip", &["link", "set", &veth, "addrgenmode", "none", "master", &bridge, "up"])?;
    let inside = format!(
        "link set lo up\nlink set eth0 addrgenmode none\naddr add {}/24 dev eth0\nlink set eth0 up\nroute add default via {}\n",
        number.ip(lab),
        lab.client_ip()
    );
    run_with_input("ip", &["-n", &netns, "-batch", "-"], &inside)?;
    nft(lab, machine, DROP_TABLE)
}

/// Unplugs and removes a machine's network. What is left of its sockets can reach nobody any more.
pub(super) fn remove_machine_net(lab: LabId, machine: &str, number: MachineNumber) -> Result<()> {
    unplug(lab, number)?;
    let netns = netns_name(lab, machine);
    if Path::new(NETNS_DIR).join(&netns).exists() {
        run("ip", &["netns", "delete", &netns])?;
    }
    Ok(())
}

/// Pulls the cable for good: from here on not even a FIN or RST of a dying process gets out.
pub(super) fn unplug(lab: LabId, number: MachineNumber) -> Result<()> {
    let veth = lab.veth(number);
    if interfaces().contains(&veth) {
        run("ip", &["link", "delete", &veth])?;
    }
    Ok(())
}

pub(super) fn set_link(lab: LabId, number: MachineNumber, up: bool) -> Result<()> {
    run("ip", &["link", "set", &lab.veth(number), if up { "up" } else { "down" }])?;
    Ok(())
}

/// One table with a set for each direction. Outgoing packets are matched after NAT and routing, incoming ones before, so that
/// packets of containers and of the machine itself are treated alike.
const DROP_TABLE: &str = "
table ip berth_lab {
    set no_way_out { type ipv4_addr; }
    set no_way_in { type ipv4_addr; }
    chain leaving { type filter hook postrouting priority 300; policy accept; ip daddr @no_way_out drop; }
    chain arriving { type filter hook prerouting priority -400; policy accept; ip saddr @no_way_in drop; }
}
";

pub(super) fn drop_outgoing(lab: LabId, machine: &str, to: Ipv4Addr) -> Result<()> {
    nft(lab, machine, &format!("add element ip berth_lab no_way_out {{ {to} }}\n"))
}

pub(super) fn drop_incoming(lab: LabId, machine: &str, from: Ipv4Addr) -> Result<()> {
    nft(lab, machine, &format!("add element ip berth_lab no_way_in {{ {from} }}\n"))
}

pub(super) fn clear_drops(lab: LabId, machine: &str) -> Result<()> {
    nft(lab, machine, "flush set ip berth_lab no_way_out\nflush set ip berth_lab no_way_in\n")
}

fn nft(lab: LabId, machine: &str, script: &str) -> Result<()> {
    let net = format!("--net={}", netns_path(lab, machine).display());
    run_with_input("nsenter", &[&net, "nft", "-f", "-"], script)?;
    Ok(())
}

/// Interfaces of the root namespace.
pub(super) fn interfaces() -> Vec<String> {
    names_in(Path::new("/sys/class/net"))
}

/// Named network namespaces.
pub(super) fn namespaces() -> Vec<String> {
    names_in(Path::new(NETNS_DIR))
}

fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Addresses and routes of this machine as `ip` prints them, to choose a subnet that collides with none.
pub(super) fn used_addresses() -> Result<String> {
    Ok(run("ip", &["-4", "-o", "addr", "show"])? + &run("ip", &["-4", "route", "show", "table", "all"])?)
}
