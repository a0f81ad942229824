//! Reads `.berth/fence` of the volume again and again and keeps every token it showed. The file is the holder's own mark on the storage, so the tokens in
//! it must only rise, whatever the control plane says. Must never write to the volume.

use crate::e2e::stamp::Stamp;
use berth_state::ids::Token;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(10);

type Shown = Arc<Mutex<Vec<(Stamp, Token)>>>;

/// Watches from its start until it is dropped.
#[derive(Debug)]
pub struct FenceWatch {
    stop: Arc<AtomicBool>,
    shown: Shown,
    thread: Option<JoinHandle<()>>,
}

impl FenceWatch {
    /// `volume` is the volume's directory.
    pub fn start(volume: &Path) -> Self {
        let file = volume.join(".berth").join("fence");
        let (stop, shown) = (Arc::new(AtomicBool::new(false)), Shown::default());
        let thread = thread::spawn({
            let (stop, shown) = (stop.clone(), shown.clone());
            move || watch(&file, &stop, &shown)
        });
        Self { stop, shown, thread: Some(thread) }
    }

    /// Each token when it was first seen after another one, in order.
    pub fn shown(&self) -> Vec<(Stamp, Token)> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn tokens(&self) -> Vec<Token> {
        self.shown().into_iter().map(|(_, token)| token).collect()
    }
}

impl Drop for FenceWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(file: &PathBuf, stop: &AtomicBool, shown: &Mutex<Vec<(Stamp, Token)>>) {
    while !stop.load(Ordering::Relaxed) {
        if let Some(token) = fs::read_to_string(file).ok().as_deref().and_then(token_in) {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.last().is_none_or(|(_, last)| *last != token) {
                shown.push((Stamp::now(), token));
            }
        }
        thread::sleep(PAUSE);
    }
}

/// The number after the word `token`, however the file is written.
fn token_in(text: &str) -> Option<Token> {
    let (_, after) = text.split_once("token")?;
    let digits: String = after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(Token)
}

/// Each place where a token is lower than the one before it. Empty: tokens only rose.
pub fn falls(tokens: &[Token]) -> Vec<(Token, Token)> {
    tokens.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| (pair[0], pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_goes_back_is_found() {
        let tokens = |numbers: &[u64]| numbers.iter().map(|n| Token(*n)).collect::<Vec<_>>();
        assert_eq!(falls(&tokens(&[3, 5, 5, 9])), vec![]);
        assert_eq!(falls(&tokens(&[3, 9, 5, 7])), vec![(Token(9), Token(5))]);
    }

    #[test]
    fn the_token_is_read_from_every_common_form() {
        for text in ["token=17\nholder=h1", "{\"token\": 17, \"holder\": \"h1\"}", "token 17"] {
            assert_eq!(token_in(text), Some(Token(17)), "{text}");
        }
        assert_eq!(token_in("holder=h1"), None);
    }
}
