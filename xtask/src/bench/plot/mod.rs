// SPDX-License-Identifier: GPL-2.0
//! Plots, as SVG: lines over a number, bars over words.

mod axis;
mod bars;
mod lines;
mod svg;

pub use bars::{Bar, Bars};
pub use lines::{Line, Lines};

pub enum Plot {
    Lines(Lines),
    Bars(Bars),
}

impl Plot {
    pub fn svg(&self) -> String {
        match self {
            Plot::Lines(plot) => plot.svg(),
            Plot::Bars(plot) => plot.svg(),
        }
    }

    pub fn title(&self) -> &str {
        match self {
            Plot::Lines(plot) => &plot.title,
            Plot::Bars(plot) => &plot.title,
        }
    }
}
