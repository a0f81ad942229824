//! Options of driver `exec`: a program of the operator's that speaks the protocol of docs/drivers.md, on every host and, to fence, on the control nodes.

use std::collections::BTreeMap;

use super::place::{Place, Space};
use super::reader::{OptionError, Reader};

/// What the program can do at the storage to a holder that fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecFence {
    No,
    /// It keeps the host out, and is asked to let it in again later.
    Host,
    /// It cuts the identity of that one token, which is never let in again.
    Token,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOptions {
    /// Absolute path; the same on every host and control node.
    pub program: String,
    /// The program can cut write-back of a dead holder on its host.
    pub cut: bool,
    pub fence: ExecFence,
    /// Which data it is, as the program knows it: two volumes of one program with the same dataset are one dataset.
    pub dataset: Option<String>,
    /// The options `opt.NAME`, without `opt.`; passed to the program.
    pub passed: BTreeMap<String, String>,
}

impl ExecOptions {
    pub(super) fn read(options: &super::Options) -> Result<Self, OptionError> {
        let reader = Reader::new("exec", options, &["program", "cut", "fence", "dataset", "opt."])?;
        let fence = match reader.word("fence", &["no", "yes", "token"])? {
            "yes" => ExecFence::Host,
            "token" => ExecFence::Token,
            _ => ExecFence::No,
        };
        if reader.get("dataset").is_some_and(str::is_empty) {
            return Err(("options.dataset".to_owned(), "a name, or leave it out".to_owned()));
        }
        Ok(Self {
            program: reader.path("program", "/absolute/program")?,
            cut: reader.yes("cut", false)?,
            fence,
            dataset: reader.get("dataset").map(ToOwned::to_owned),
            passed: reader.with_prefix("opt."),
        })
    }

    /// Without a stated dataset, the same program with the same options is taken for the same data.
    pub(super) fn place(&self) -> Place {
        let told = || self.passed.iter().map(|(key, value)| format!("{key:?}={value:?};")).collect::<String>();
        let dataset = self.dataset.clone().unwrap_or_else(|| format!("opt:{}", told()));
        Place::new(Space::Exec { program: self.program.clone(), dataset }, "/")
    }
}
