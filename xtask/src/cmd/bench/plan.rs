// SPDX-License-Identifier: GPL-2.0
//! Which benchmarks are run, and what boots they take.

use crate::error::Fatal;

/// Compared with the unpatched kernel: a boot of each for nothing else.
pub const IDLE: &str = "idle";
/// Takes several processors, and a clock.
pub const PRODUCERS: &str = "producers";
/// Takes a record of every instruction.
pub const PROFILE: &str = "profile";
/// Of these, a clock makes no other figures.
const TIMELESS: [&str; 1] = ["memory"];

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Those that can be run together, in one boot.
    pub common: Vec<String>,
    /// Those of them that are worth being timed.
    pub timed: Vec<String>,
    pub idle: bool,
    pub producers: bool,
    pub profile: bool,
}

impl Plan {
    /// Everything, if nothing is asked for.
    pub fn new(known: &[String], asked: &[String]) -> anyhow::Result<Plan> {
        if let Some(name) = asked.iter().find(|name| !known.contains(name)) {
            let text = format!("no benchmark {name:?}, there is: {}", known.join(", "));
            return Err(Fatal::Setup(text).into());
        }
        let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
        let has = |name: &str| known.iter().any(|known| known == name) && wanted(name);
        let other = |name: &&String| [IDLE, PRODUCERS, PROFILE].contains(&name.as_str());
        let common: Vec<String> = known
            .iter()
            .filter(|name| wanted(name) && !other(name))
            .cloned()
            .collect();
        let timed = common
            .iter()
            .filter(|name| !TIMELESS.contains(&name.as_str()));
        Ok(Plan {
            timed: timed.cloned().collect(),
            common,
            idle: has(IDLE),
            producers: has(PRODUCERS),
            profile: has(PROFILE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(asked: &[&str]) -> anyhow::Result<Plan> {
        let own = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let known = ["idle", "pipetest", "memory", "producers", "profile"];
        Plan::new(&own(&known), &own(asked))
    }

    #[test]
    fn without_names_it_is_everything() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan.common, ["pipetest", "memory"]);
        assert_eq!(plan.timed, ["pipetest"]);
        assert!(plan.idle && plan.producers && plan.profile);
    }

    #[test]
    fn only_what_is_named_is_booted_for() {
        let named = plan(&["memory"]).unwrap();
        assert_eq!(named.common, ["memory"]);
        assert!(named.timed.is_empty());
        assert!(!named.idle && !named.producers && !named.profile);
        let named = plan(&["profile", "idle"]).unwrap();
        assert!(named.common.is_empty() && named.idle && named.profile && !named.producers);
    }

    #[test]
    fn a_wrong_name_is_an_error_that_says_what_there_is() {
        let error = plan(&["pipetset"]).unwrap_err().to_string();
        assert!(
            error.contains("pipetset") && error.contains("pipetest"),
            "{error}"
        );
    }

    #[test]
    fn what_the_program_does_not_have_is_not_run() {
        let known = ["pipetest".to_owned()];
        let plan = Plan::new(&known, &[]).unwrap();
        assert_eq!(plan.common, known);
        assert!(!plan.idle && !plan.producers && !plan.profile);
    }
}
