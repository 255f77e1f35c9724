// SPDX-License-Identifier: GPL-2.0
//! Axes: linear, or logarithmic where the figures span too much for that.

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// With the distance of two ticks.
    Linear { step: f64 },
    /// Between powers of ten.
    Log,
}

/// From one tick to another.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

/// Ticks of a linear axis, roughly.
const TICKS: f64 = 6.0;

impl Axis {
    /// Holds all values, and from `start` to `end` in the drawing. Logarithmic if the largest is
    /// more than `span` times the smallest, and none of them is zero or less.
    pub fn fit(values: impl Iterator<Item = f64> + Clone, span: f64, start: f64, end: f64) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let axis = |scale, from, to| Axis {
            scale,
            from,
            to,
            start,
            end,
        };
        if low > 0.0 && high.is_finite() && high / low > span {
            // Rounding must not put a power of ten beyond itself.
            let from = (low.log10() + 1e-9).floor();
            let to = (high.log10() - 1e-9).ceil();
            return axis(Scale::Log, from, to.max(from + 1.0));
        }
        let (low, high) = (low.min(0.0), high.max(0.0));
        let range = if low.is_finite() && high > low {
            high - low
        } else {
            1.0
        };
        let step = nice(range / TICKS);
        let from = if low.is_finite() {
            (low / step).floor() * step
        } else {
            0.0
        };
        let to = ((from + range) / step).ceil() * step;
        let high_enough = if high > to { to + step } else { to };
        axis(Scale::Linear { step }, from, high_enough)
    }

    /// Where a value is, if it has a place.
    pub fn place(&self, value: f64) -> Option<f64> {
        let value = match self.scale {
            Scale::Linear { .. } => value.max(self.from),
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => return None,
        };
        Some(self.at(value))
    }

    fn at(&self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// Where bars begin.
    pub fn base(&self) -> f64 {
        match self.scale {
            Scale::Linear { .. } => self.at(0.0),
            Scale::Log => self.start,
        }
    }

    /// Values that have a label, and where they are.
    pub fn ticks(&self) -> Vec<(f64, f64)> {
        match self.scale {
            Scale::Linear { step } => {
                let count = ((self.to - self.from) / step).round() as u32;
                let value = |index: u32| self.from + f64::from(index) * step;
                (0..=count)
                    .map(|index| (value(index), self.at(value(index))))
                    .collect()
            }
            Scale::Log => {
                let powers = (self.from as i32)..=(self.to as i32);
                powers
                    .map(|power| (10f64.powi(power), self.at(f64::from(power))))
                    .collect()
            }
        }
    }

    /// What lies between two powers of ten.
    pub fn minors(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear { .. } => Vec::new(),
            Scale::Log => ((self.from as i32)..(self.to as i32))
                .flat_map(|power| (2..10).map(move |n| f64::from(n) * 10f64.powi(power)))
                .map(|value| self.at(value.log10()))
                .collect(),
        }
    }

    pub fn is_log(&self) -> bool {
        self.scale == Scale::Log
    }
}

/// The next larger of 1, 2, 5, 10, 20, …
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|f| f * power >= step * 0.999_999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_range_has_whole_decades() {
        let axis = Axis::fit([10.0, 1000.0].into_iter(), 20.0, 0.0, 100.0);
        assert!(axis.is_log());
        assert!((axis.place(100.0).unwrap() - 50.0).abs() < 1e-9);
        assert_eq!(axis.place(0.0), None);
        assert_eq!(axis.ticks().len(), 3);
        assert_eq!(axis.minors().len(), 16);
        assert_eq!(axis.base(), 0.0);
    }

    #[test]
    fn a_narrow_one_begins_at_zero() {
        let axis = Axis::fit([250.0, 330.0].into_iter(), 20.0, 0.0, 100.0);
        assert!(!axis.is_log());
        let ticks: Vec<f64> = axis.ticks().iter().map(|(value, _)| *value).collect();
        assert_eq!(ticks, [0.0, 100.0, 200.0, 300.0, 400.0]);
        assert_eq!(axis.place(400.0), Some(100.0));
    }

    #[test]
    fn zero_and_less_have_a_place() {
        let axis = Axis::fit([0.0, 50_000.0].into_iter(), 20.0, 0.0, 100.0);
        assert!(!axis.is_log() && axis.place(0.0) == Some(0.0));
        let axis = Axis::fit([-3.0, 10.0].into_iter(), 20.0, 0.0, 100.0);
        let ticks = axis.ticks();
        assert!(
            ticks[0].0 <= -3.0 && ticks.last().unwrap().0 >= 10.0,
            "{ticks:?}"
        );
        assert!(axis.base() > 0.0);
    }

    #[test]
    fn nothing_is_still_an_axis() {
        for values in [vec![], vec![0.0]] {
            let axis = Axis::fit(values.into_iter(), 20.0, 0.0, 100.0);
            assert!(axis.place(0.5).is_some_and(f64::is_finite));
            assert!(axis.ticks().len() > 1);
        }
    }
}
