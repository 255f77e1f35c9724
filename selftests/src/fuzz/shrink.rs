// SPDX-License-Identifier: GPL-2.0
//! Makes a program that fails shorter, as long as it fails: first parts of it are left out, large
//! ones before small ones, then numbers are made simpler.

use super::program::{Operand, Program, Shape};

/// How often a program of threads is run before it counts as one that passes.
const TRIES: u32 = 5;

/// The shortest program that was found to fail, and how it failed. `fails` runs one; `budget`
/// bounds how often.
pub fn shrink(
    program: &Program,
    why: String,
    mut budget: u32,
    mut fails: impl FnMut(&Program) -> Option<String>,
) -> (Program, String) {
    let tries = match program.shape {
        Shape::Threads | Shape::Transfer => TRIES,
        Shape::Sequence | Shape::Apart => 1,
    };
    let mut best = (program.clone(), why);
    let mut attempt = |candidate: Program, best: &mut (Program, String)| {
        for _ in 0..tries {
            if budget == 0 {
                return false;
            }
            budget -= 1;
            if let Some(why) = fails(&candidate) {
                *best = (candidate, why);
                return true;
            }
        }
        false
    };
    loop {
        let before = best.0.clone();
        let mut part = best.0.ops.len().div_ceil(2).max(1);
        loop {
            let mut start = 0;
            while start < best.0.ops.len() {
                let end = (start + part).min(best.0.ops.len());
                let mut candidate = best.0.clone();
                candidate.ops.drain(start..end);
                if !attempt(candidate, &mut best) {
                    start = end;
                }
            }
            if part == 1 {
                break;
            }
            part = part.div_ceil(2);
        }
        for i in 0..best.0.ops.len() {
            for j in 0..best.0.ops[i].verb.operands().len() {
                let operand = best.0.ops[i].verb.operands()[j];
                for simpler in simpler(operand, best.0.ops[i].args[j]) {
                    let mut candidate = best.0.clone();
                    candidate.ops[i].args[j] = simpler;
                    if attempt(candidate, &mut best) {
                        break;
                    }
                }
            }
        }
        if best.0 == before {
            return best;
        }
    }
}

/// Simpler values of an operand, the simplest first.
fn simpler(operand: Operand, value: u32) -> Vec<u32> {
    let mut values = match operand {
        Operand::Bytes => vec![1, 4096, 65536, value / 2],
        Operand::Mask => (0..32)
            .map(|bit| 1 << bit)
            .filter(|bit| value & bit != 0)
            .collect(),
        Operand::Kind | Operand::Flag | Operand::How | Operand::Time => vec![0],
        // Which slot it is matters only to the reader.
        Operand::Slot => vec![],
    };
    if operand == Operand::Mask {
        values.insert(0, 0);
    }
    values.retain(|v| v.count_ones() < value.count_ones() || *v < value);
    values
}

#[cfg(test)]
mod tests {
    use super::super::generate::program_of;
    use super::super::program::Verb;
    use super::*;

    /// Fails if it writes more than 1000 bytes, and then closes something.
    fn sample(program: &Program) -> Option<String> {
        let wrote = |op: &super::super::program::Op| op.verb == Verb::Write && op.args[1] > 1000;
        let at = program.ops.iter().position(wrote)?;
        let closes = program.ops[at..].iter().any(|op| op.verb == Verb::Close);
        closes.then(|| "sample".to_owned())
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let mut found = 0;
        for seed in 0..50 {
            let program = program_of(Shape::Sequence, seed);
            if sample(&program).is_none() {
                continue;
            }
            found += 1;
            let (short, why) = shrink(&program, String::new(), 10_000, sample);
            assert_eq!(short.ops.len(), 2, "{short}");
            assert!(short.ops[0].args[1] <= 4096, "{short}");
            assert_eq!(why, "sample");
        }
        assert!(found > 5);
    }

    #[test]
    fn the_budget_is_kept() {
        let program = program_of(Shape::Sequence, 1);
        let mut runs = 0;
        shrink(&program, String::new(), 20, |_| {
            runs += 1;
            None
        });
        assert_eq!(runs, 20);
    }
}
