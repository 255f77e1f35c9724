// SPDX-License-Identifier: GPL-2.0
//! Axes: linear, or logarithmic where the figures span too much for that. A logarithmic one may
//! have a place for 0, apart from the rest.

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
    /// Where 0 is on a logarithmic axis that has a place for it.
    zero: Option<f64>,
}

/// Ticks of a linear axis, roughly.
const TICKS: f64 = 6.0;
/// The part of a logarithmic axis that is between 0 and the rest.
const BREAK: f64 = 0.12;

impl Axis {
    /// Holds all values, and from `start` to `end` in the drawing. Logarithmic if the largest is
    /// `span` times the smallest or more, and none of them is zero or less.
    pub fn fit(values: impl Iterator<Item = f64> + Clone, span: f64, start: f64, end: f64) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let axis = |scale, from, to| Axis {
            scale,
            from,
            to,
            start,
            end,
            zero: None,
        };
        if low > 0.0 && high.is_finite() && high / low >= span {
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

    /// The same, but that zero does not keep it from being logarithmic: it has a place of its own
    /// then, at `start`.
    pub fn fit_with_zero(
        values: impl Iterator<Item = f64> + Clone,
        span: f64,
        start: f64,
        end: f64,
    ) -> Axis {
        let rest = values.clone().filter(|value| *value != 0.0);
        if values.clone().any(|value| value == 0.0) {
            let axis = Axis::fit(rest, span, start + BREAK * (end - start), end);
            if axis.is_log() {
                let zero = Some(start);
                return Axis { zero, ..axis };
            }
        }
        Axis::fit(values, span, start, end)
    }

    /// Where the axis is broken: between the place of 0 and the rest.
    pub fn broken(&self) -> Option<f64> {
        self.zero.map(|zero| (zero + self.start) / 2.0)
    }

    /// Where a value is, if it has a place.
    pub fn place(&self, value: f64) -> Option<f64> {
        if value == 0.0 && self.zero.is_some() {
            return self.zero;
        }
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
                let powers = powers.map(|power| (10f64.powi(power), self.at(f64::from(power))));
                let zero = self.zero.map(|zero| (0.0, zero));
                zero.into_iter().chain(powers).collect()
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
    fn zero_may_stand_apart_from_decades() {
        let idle = [0.0, 1000.0, 10_000.0, 50_000.0];
        let axis = Axis::fit_with_zero(idle.into_iter(), 50.0, 100.0, 200.0);
        assert!(axis.is_log());
        let places: Vec<f64> = idle.iter().filter_map(|idle| axis.place(*idle)).collect();
        assert_eq!((places.len(), places[0]), (4, 100.0));
        let broken = axis.broken().unwrap();
        assert!(
            places[0] < broken && broken < places[1],
            "{places:?}, {broken}"
        );
        assert!(
            places[1] + 20.0 < places[2] && places[3] < 200.0,
            "{places:?}"
        );
        let ticks: Vec<f64> = axis.ticks().iter().map(|(value, _)| *value).collect();
        assert_eq!(ticks, [0.0, 1000.0, 10_000.0, 100_000.0]);
        assert_eq!(axis.place(-1.0), None);

        // Where there is no need for it, nothing is set apart.
        for (values, log) in [(&[0.0, 100.0, 200.0][..], false), (&[1.0, 100.0], true)] {
            let axis = Axis::fit_with_zero(values.iter().copied(), 50.0, 100.0, 200.0);
            assert_eq!((axis.is_log(), axis.broken()), (log, None));
        }
    }

    #[test]
    fn nothing_is_still_an_axis() {
        for values in [vec![], vec![0.0]] {
            let axis = Axis::fit_with_zero(values.iter().copied(), 20.0, 0.0, 100.0);
            assert!(axis.place(0.0).is_some_and(f64::is_finite));
            let axis = Axis::fit(values.into_iter(), 20.0, 0.0, 100.0);
            assert!(axis.place(0.5).is_some_and(f64::is_finite));
            assert!(axis.ticks().len() > 1);
        }
    }
}
