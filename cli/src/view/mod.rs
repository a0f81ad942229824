//! Commands that look across nouns: [`ps`], [`status`], [`logs`], [`why`], and the cluster's [`settings`].

pub mod logs;
pub mod ps;
pub mod settings;
pub mod status;
pub mod why;
