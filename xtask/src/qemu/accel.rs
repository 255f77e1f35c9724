// SPDX-License-Identifier: GPL-2.0
//! Which acceleration to use. A /dev/kvm that opens proves little: in a virtual machine without
//! nested virtualisation it can be there, create machines, and never run one of them.

use super::Acceleration;
use crate::ctx::Accel;
use std::fs::OpenOptions;
use std::io::ErrorKind;

/// What to try, in this order: the next one only if the one before gives no sign of life.
pub fn candidates(asked: Accel) -> Vec<Acceleration> {
    match asked {
        Accel::Kvm => vec![Acceleration::Kvm],
        Accel::Tcg => vec![Acceleration::Tcg],
        Accel::Auto if kvm_works() => vec![Acceleration::Kvm, Acceleration::Tcg],
        Accel::Auto => vec![Acceleration::Tcg],
    }
}

/// Whether KVM is worth a try.
pub fn kvm_works() -> bool {
    kvm().is_ok()
}

/// What keeps KVM from being worth a try, and what would change it.
pub fn kvm() -> Result<(), String> {
    const DEVICE: &str = "/dev/kvm";
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(format!(
                "there is no {DEVICE}: a virtual machine needs nested virtualisation"
            ));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(format!(
                "{DEVICE} is not for this user: join the group that owns it"
            ));
        }
        Err(error) => return Err(format!("{DEVICE}: {error}")),
    }
    match std::fs::read_to_string("/proc/cpuinfo") {
        Ok(text) if has_extension(&text) => Ok(()),
        _ => Err(format!(
            "{DEVICE} is there, but the processor has neither vmx nor svm"
        )),
    }
}

/// Whether the processor's flags name a virtualisation extension.
fn has_extension(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_is_a_whole_word_of_the_flags() {
        assert!(has_extension("model\t: x\nflags\t\t: fpu vmx sse\n"));
        assert!(has_extension("flags : svm\n"));
        assert!(!has_extension("flags : fpu svm_lock vmxyz\nbugs : vmx\n"));
        assert!(!has_extension(""));
    }

    #[test]
    fn an_explicit_choice_has_no_fallback() {
        assert_eq!(candidates(Accel::Kvm), [Acceleration::Kvm]);
        assert_eq!(candidates(Accel::Tcg), [Acceleration::Tcg]);
        assert_eq!(candidates(Accel::Auto).last(), Some(&Acceleration::Tcg));
    }
}
