//! The command line that asks for a write again under its request id: printed when the outcome is unknown. Pure but for reading our own
//! arguments.

use berth_state::ids::{RequestId, Version};

/// How the present command line must be changed to order exactly the same again. The order is compared with the first one, so what was
/// looked up before (a version, a lease) must be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    Same,
    /// With the version that was read.
    Version(Version),
    /// With the word that named it replaced by an exact one.
    Word {
        from: String,
        to: String,
    },
}

/// The line, quoted for a shell.
#[must_use]
pub fn command(request: RequestId, retry: &Retry) -> String {
    line(std::env::args().collect(), request, retry)
}

fn line(args: Vec<String>, request: RequestId, retry: &Retry) -> String {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| "berth".to_owned());
    let mut words = without_request(args);
    match retry {
        Retry::Same => {}
        Retry::Version(version) => {
            let end = words.iter().position(|w| w == "--").unwrap_or(words.len());
            if !words[..end].iter().any(|w| w == "--version" || w.starts_with("--version=")) {
                words.splice(end..end, ["--version".to_owned(), version.to_string()]);
            }
        }
        Retry::Word { from, to } => {
            if let Some(word) = words.iter_mut().find(|w| *w == from) {
                to.clone_into(word);
            }
        }
    }
    let head = [program, "--request-id".to_owned(), request.to_string()];
    let quoted: Vec<String> = head.into_iter().chain(words).map(|word| quote(&word)).collect();
    quoted.join(" ")
}

/// An id given before is the same one; it is named once.
fn without_request(args: impl Iterator<Item = String>) -> Vec<String> {
    let mut words = Vec::new();
    let mut skip = false;
    let mut own = true;
    for word in args {
        own = own && word != "--";
        if skip {
            skip = false;
        } else if own && word == "--request-id" {
            skip = true;
        } else if !own || !word.starts_with("--request-id=") {
            words.push(word);
        }
    }
    words
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(args: &[&str], retry: &Retry) -> String {
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        line(args, RequestId([0xab; 16]), retry).replace(&"ab".repeat(16), "ID")
    }

    #[test]
    fn the_retry_is_the_same_command_under_the_same_id() {
        let table: [(&[&str], Retry, &str); 5] = [
            (&["berth", "host", "cordon", "h1"], Retry::Same, "berth --request-id ID host cordon h1"),
            (&["berth", "--request-id", "x", "ps", "--request-id=y"], Retry::Same, "berth --request-id ID ps"),
            (
                &["berth", "container", "update", "c", "--env", "A=it's", "--", "sh", "--request-id", "z"],
                Retry::Version(Version(7)),
                r"berth --request-id ID container update c --env 'A=it'\''s' --version 7 -- sh --request-id z",
            ),
            (
                &["berth", "host", "update", "h", "--version=3"],
                Retry::Version(Version(3)),
                "berth --request-id ID host update h --version=3",
            ),
            (
                &["berth", "fence", "confirm", "h1", "--reason", "it burns"],
                Retry::Word { from: "h1".to_owned(), to: "4/9".to_owned() },
                "berth --request-id ID fence confirm 4/9 --reason 'it burns'",
            ),
        ];
        for (args, retry, want) in table {
            assert_eq!(after(args, &retry), want);
        }
    }
}
