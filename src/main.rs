//! The program: see the library.

fn main() -> std::process::ExitCode {
    assay::app::run()
}
