//! The guard's command line. Built by the executor, read by the guard. Each hook says how many words it has, and the command follows `--`: so both may
//! contain anything.
//!
//! ```text
//! berth-guard --page FILE --token N [--status FILE] {--init-hook | --pre-start-hook TIMEOUT_MS WORDS WORD…}… -- COMMAND…
//! ```

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::status::HookKind;

/// A program that must succeed before the command starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub kind: HookKind,
    pub timeout_ms: u64,
    /// Never empty.
    pub command: Vec<OsString>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    pub page: PathBuf,
    pub token: u64,
    pub status: Option<PathBuf>,
    /// Run in this order.
    pub hooks: Vec<Hook>,
    /// Never empty.
    pub command: Vec<OsString>,
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("{option}: a value is missing")]
    Missing { option: &'static str },
    #[error("{option}: {value:?} is no number")]
    NoNumber { option: &'static str, value: OsString },
    #[error("unknown option {0:?}")]
    Unknown(OsString),
    #[error("no {0}")]
    No(&'static str),
}

const PAGE: &str = "--page";
const TOKEN: &str = "--token";
const STATUS: &str = "--status";
const COMMAND: &str = "--";

impl Arguments {
    /// The words after the guard's own name, without `-- COMMAND…` if that is empty: a runtime that fills in the image's command appends it.
    #[must_use]
    pub fn to_words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![PAGE.into(), self.page.clone().into(), TOKEN.into(), self.token.to_string().into()];
        if let Some(status) = &self.status {
            words.extend([STATUS.into(), status.clone().into()]);
        }
        for hook in &self.hooks {
            words.extend([option(hook.kind).into(), hook.timeout_ms.to_string().into(), hook.command.len().to_string().into()]);
            words.extend(hook.command.iter().cloned());
        }
        words.push(COMMAND.into());
        words.extend(self.command.iter().cloned());
        words
    }

    /// # Errors
    /// [`ArgumentError`]; nothing is guessed.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut words = words.into_iter();
        let (mut page, mut token, mut status, mut hooks) = (None, None, None, Vec::new());
        while let Some(word) = words.next() {
            match word.to_str() {
                Some(PAGE) => page = Some(next(&mut words, PAGE)?.into()),
                Some(TOKEN) => token = Some(number(&mut words, TOKEN)?),
                Some(STATUS) => status = Some(next(&mut words, STATUS)?.into()),
                Some(INIT_HOOK) => hooks.push(hook(HookKind::Init, &mut words)?),
                Some(PRE_START_HOOK) => hooks.push(hook(HookKind::PreStart, &mut words)?),
                Some(COMMAND) => {
                    let command: Vec<_> = words.collect();
                    if command.is_empty() {
                        break;
                    }
                    let page = page.ok_or(ArgumentError::No(PAGE))?;
                    return Ok(Self { page, token: token.ok_or(ArgumentError::No(TOKEN))?, status, hooks, command });
                }
                Some(_) | None => return Err(ArgumentError::Unknown(word)),
            }
        }
        Err(ArgumentError::No("command"))
    }
}

const INIT_HOOK: &str = "--init-hook";
const PRE_START_HOOK: &str = "--pre-start-hook";

fn option(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Init => INIT_HOOK,
        HookKind::PreStart => PRE_START_HOOK,
    }
}

fn hook(kind: HookKind, words: &mut impl Iterator<Item = OsString>) -> Result<Hook, ArgumentError> {
    let timeout_ms = number(words, option(kind))?;
    let count = number(words, option(kind))?;
    let command = (0..count).map(|_| next(words, option(kind))).collect::<Result<Vec<_>, _>>()?;
    if command.is_empty() {
        return Err(ArgumentError::Missing { option: option(kind) });
    }
    Ok(Hook { kind, timeout_ms, command })
}

fn next(words: &mut impl Iterator<Item = OsString>, option: &'static str) -> Result<OsString, ArgumentError> {
    words.next().ok_or(ArgumentError::Missing { option })
}

fn number(words: &mut impl Iterator<Item = OsString>, option: &'static str) -> Result<u64, ArgumentError> {
    let value = next(words, option)?;
    value.to_str().and_then(|text| text.parse().ok()).ok_or(ArgumentError::NoNumber { option, value: value.clone() })
}

/// For messages: the program of a command.
#[must_use]
pub fn program(command: &[OsString]) -> &OsStr {
    command.first().map_or(OsStr::new(""), OsString::as_os_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn what_is_built_is_what_is_read_whatever_the_words() {
        let hook = |kind, command: &[&str]| Hook { kind, timeout_ms: 30_000, command: command.iter().map(OsString::from).collect() };
        let arguments = Arguments {
            page: "/.berth/page".into(),
            token: u64::MAX,
            status: Some("/.berth/status".into()),
            hooks: vec![hook(HookKind::Init, &["--", "--init-hook", "3", ""]), hook(HookKind::PreStart, &["sh", "-c", "a b\n'\""])],
            command: words("--page x -- --token y"),
        };
        assert_eq!(Arguments::parse(arguments.to_words()), Ok(arguments));
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        for (line, error) in [
            ("", ArgumentError::No("command")),
            ("--page p --token 1 --", ArgumentError::No("command")),
            ("--token 1 -- x", ArgumentError::No(PAGE)),
            ("--page p -- x", ArgumentError::No(TOKEN)),
            ("--page", ArgumentError::Missing { option: PAGE }),
            ("--page p --token one -- x", ArgumentError::NoNumber { option: TOKEN, value: "one".into() }),
            ("--page p --token 1 --init-hook 5 0 -- x", ArgumentError::Missing { option: INIT_HOOK }),
            ("--page p --token 1 --init-hook 5 3 a b", ArgumentError::Missing { option: INIT_HOOK }),
            ("--page p --nonsense -- x", ArgumentError::Unknown("--nonsense".into())),
        ] {
            assert_eq!(Arguments::parse(words(line)), Err(error), "{line}");
        }
    }
}
