//! Every instruction form against an independent reference: exact numbers, wide integers, plain loops; on edge values and
//! random ones, on every value of 16- and 8-bit types. `coverage` compares the tables with what the machine accepts.

mod compare;
mod convert;
mod exact;
mod float;
mod harness;
mod integer;
mod matrix;
mod memory;
mod warp;
mod wgmma;
