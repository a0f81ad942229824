//! A fence agent on the command line: its name, then options as words: `fence_ipmilan ip=10.0.0.9 login=admin passwd@file=/run/bmc`. Pure: where a
//! secret is to be read from is only noted here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_state::noun::host::FenceAgent;

use super::{Unclear, duration};

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `NAME@secret=VALUE`: stays in the shell's history.
    Given(String),
    /// `NAME@file=PATH`: its content without the newline at the end.
    File(PathBuf),
    /// `NAME@env=VARIABLE`.
    Environment(String),
    /// `NAME@kept`: as it was.
    Kept,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentText {
    pub agent: String,
    pub options: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Source>,
    pub timeout_ms: u64,
}

const WANT: &str = "AGENT KEY=VALUE … NAME@file=PATH …, as in \"fence_ipmilan ip=10.0.0.9 login=admin passwd@file=/run/bmc @timeout=20s\"";

/// # Errors
/// [`Unclear`]; also for an option that looks like a secret and would be shown.
pub fn parse(text: &str) -> Result<AgentText, Unclear> {
    // Never the whole text in an error: it may hold a secret.
    let unclear = |word: &str| Unclear::new(word, WANT);
    let mut words = split(text).ok_or_else(|| unclear("a quote that is not closed"))?.into_iter();
    let agent = words.next().filter(|agent| !agent.contains(['=', '@'])).ok_or_else(|| unclear("no agent"))?;
    let mut parsed = AgentText { agent, options: BTreeMap::new(), secrets: BTreeMap::new(), timeout_ms: FenceAgent::DEFAULT_TIMEOUT_MS };
    for word in words {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        match (key.split_once('@'), value) {
            (None, Some(value)) if !key.is_empty() => {
                if secret_by_name(&key) {
                    let want = format!("a secret would be shown: write {key}@file=PATH or {key}@env=VARIABLE");
                    return Err(Unclear::new(&key, want));
                }
                parsed.options.insert(key, value);
            }
            (Some(("", "timeout")), Some(value)) => parsed.timeout_ms = duration::milliseconds(&value)?,
            (Some((name, how)), value) if !name.is_empty() => {
                let source = match (how, value) {
                    ("file", Some(path)) => Source::File(PathBuf::from(path)),
                    ("env", Some(variable)) => Source::Environment(variable),
                    ("secret", Some(value)) => Source::Given(value),
                    ("kept", None) => Source::Kept,
                    (_, _) => return Err(unclear(&key)),
                };
                parsed.secrets.insert(name.to_owned(), source);
            }
            (_, _) => return Err(unclear(&key)),
        }
    }
    Ok(parsed)
}

fn secret_by_name(key: &str) -> bool {
    ["passwd", "password", "secret", "token"].iter().any(|word| key.ends_with(word))
}

/// Words at white space; quotes keep it. `None`: a quote is not closed.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { None } else { Some(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_its_name_options_secrets_and_timeout() {
        let text = "fence_ipmilan ip=10.0.0.9 login='a b' passwd@file=/run/bmc snmp_priv_passwd@env=BMC community@secret=x=y old@kept @timeout=20s";
        let agent = parse(text).unwrap();
        assert_eq!(agent.agent, "fence_ipmilan");
        let options = [("ip", "10.0.0.9"), ("login", "a b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(agent.options, BTreeMap::from(options));
        let secrets = [
            ("passwd", Source::File("/run/bmc".into())),
            ("snmp_priv_passwd", Source::Environment("BMC".to_owned())),
            ("community", Source::Given("x=y".to_owned())),
            ("old", Source::Kept),
        ];
        assert_eq!(agent.secrets, secrets.map(|(k, v)| (k.to_owned(), v)).into());
        assert_eq!(agent.timeout_ms, 20_000);
        assert_eq!(parse("fence_dummy").unwrap().timeout_ms, FenceAgent::DEFAULT_TIMEOUT_MS);
    }

    #[test]
    fn what_is_unclear_is_refused_without_repeating_a_secret() {
        for bad in ["", "ip=1", "a b", "a =x", "a 'b=c", "a p@file", "a p@what=x", "a @timeout=5", "a p@kept=x"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
        let told = parse("fence_ipmilan passwd=hunter2").unwrap_err().to_string();
        assert!(told.contains("passwd@file=PATH") && !told.contains("hunter2"), "{told}");
    }
}
