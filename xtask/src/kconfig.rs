// SPDX-License-Identifier: GPL-2.0
//! Kernel configuration fragments, and whether each of their lines took effect: a symbol whose
//! dependencies are not met is dropped by kconfig without a word.

use std::collections::BTreeMap;

/// A line of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub symbol: String,
    /// `n` where it is to be off.
    pub value: String,
    /// The fragment that asks for it.
    pub from: String,
}

/// What the fragments ask for together: of two lines about one symbol the later counts.
pub fn wishes(fragments: &[(String, String)]) -> Vec<Wish> {
    let mut wishes = BTreeMap::new();
    for (from, text) in fragments {
        for (symbol, value) in text.lines().filter_map(setting) {
            let wish = Wish {
                symbol: symbol.clone(),
                value,
                from: from.clone(),
            };
            wishes.insert(symbol, wish);
        }
    }
    wishes.into_values().collect()
}

/// The wishes that a configuration does not fulfil, each with the value it has instead.
pub fn unfulfilled(wishes: &[Wish], config: &str) -> Vec<(Wish, String)> {
    let config: BTreeMap<String, String> = config.lines().filter_map(setting).collect();
    wishes
        .iter()
        .map(|wish| (wish, config.get(&wish.symbol).map_or("n", String::as_str)))
        .filter(|(wish, value)| wish.value != *value)
        .map(|(wish, value)| (wish.clone(), value.to_owned()))
        .collect()
}

/// The symbol and value of a line such as `CONFIG_X=y` or `# CONFIG_X is not set`.
fn setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if let Some(off) = line.strip_prefix("# CONFIG_") {
        let symbol = off.strip_suffix(" is not set")?;
        return Some((format!("CONFIG_{symbol}"), "n".into()));
    }
    let (symbol, value) = line.split_once('=')?;
    symbol
        .starts_with("CONFIG_")
        .then(|| (symbol.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(fragments: &[&str], config: &str) -> Vec<(String, String)> {
        let named: Vec<_> = fragments
            .iter()
            .map(|text| ("f".into(), (*text).to_owned()))
            .collect();
        let missed = unfulfilled(&wishes(&named), config).into_iter();
        missed.map(|(wish, value)| (wish.symbol, value)).collect()
    }

    #[test]
    fn every_line_in_effect() {
        let fragment =
            "# a comment\nCONFIG_A=y\nCONFIG_B=n\n# CONFIG_C is not set\nCONFIG_D=\"x=y\"\n";
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=\"x=y\"\n";
        assert!(missed(&[fragment], config).is_empty());
    }

    #[test]
    fn a_line_that_was_dropped_or_decided_otherwise() {
        let fragment = "CONFIG_A=y\nCONFIG_B=n\nCONFIG_N=8\n";
        let config = "CONFIG_B=y\nCONFIG_N=64\n";
        let expected = [("CONFIG_A", "n"), ("CONFIG_B", "y"), ("CONFIG_N", "64")];
        assert_eq!(
            missed(&[fragment], config),
            expected.map(|(a, b)| (a.into(), b.into()))
        );
    }

    #[test]
    fn a_later_fragment_overrides() {
        assert!(missed(&["CONFIG_A=y\n", "CONFIG_A=n\n"], "").is_empty());
    }
}
