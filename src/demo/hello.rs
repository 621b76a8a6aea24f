//! The smallest programs that greet: static ELF executables, put together by hand.
//!
//! Two system calls (write, exit) and the text behind them, so that the demo's image really runs, on
//! any Linux kernel, with nothing else in it.

/// Where the kernel maps the file; a multiple of every page size in use (64 KiB on some arm64).
const BASE: u64 = 0x40_0000;
/// ELF header and one program header; the code follows.
const HEADERS: usize = 64 + 56;

const MACHINE_X86_64: u16 = 62;
const MACHINE_AARCH64: u16 = 183;

/// An executable for `architecture` (an OCI name) that prints `text` and ends with 0; `None` for an
/// architecture whose machine code we do not speak.
pub(super) fn executable(architecture: &str, text: &str) -> Option<Vec<u8>> {
    let (machine, code) = match architecture {
        "amd64" => (MACHINE_X86_64, x86_64(text.len())),
        "arm64" => (MACHINE_AARCH64, aarch64(text.len())),
        _ => return None,
    };
    Some(elf(machine, &[code.as_slice(), text.as_bytes()].concat()))
}

/// write(1, text, length); exit(0). The text follows the code.
fn x86_64(length: usize) -> Vec<u8> {
    let length = u32::try_from(length).expect("a greeting is short").to_le_bytes();
    [
        &[0xb8, 1, 0, 0, 0][..],          // mov eax, 1 (write)
        &[0xbf, 1, 0, 0, 0],              // mov edi, 1 (stdout)
        &[0x48, 0x8d, 0x35, 16, 0, 0, 0], // lea rsi, [rip + 16]: the text, 16 bytes behind this instruction
        &[0xba],
        &length,              // mov edx, length
        &[0x0f, 0x05],        // syscall
        &[0xb8, 60, 0, 0, 0], // mov eax, 60 (exit)
        &[0x31, 0xff],        // xor edi, edi
        &[0x0f, 0x05],        // syscall
    ]
    .concat()
}

/// The same for 64-bit Arm.
fn aarch64(length: usize) -> Vec<u8> {
    const SVC: u32 = 0xd400_0001;
    let movz = |register: u32, value: u32| 0xd280_0000 | (value << 5) | register;
    let length = u32::from(u16::try_from(length).expect("a greeting is shorter than 64 KiB"));
    [
        movz(0, 1),  // stdout
        0x1000_00e1, // adr x1, +28: the text, behind the eight instructions
        movz(2, length),
        movz(8, 64), // write
        SVC,
        movz(0, 0),
        movz(8, 93), // exit
        SVC,
    ]
    .iter()
    .flat_map(|instruction| instruction.to_le_bytes())
    .collect()
}

/// One segment, readable and executable, that holds headers, code and text.
fn elf(machine: u16, body: &[u8]) -> Vec<u8> {
    let size = (HEADERS + body.len()) as u64;
    let mut file = Vec::with_capacity(HEADERS + body.len());
    file.extend(b"\x7fELF\x02\x01\x01"); // 64 bits, little endian, version 1
    file.extend([0; 9]);
    file.extend(2u16.to_le_bytes()); // executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes()); // version
    file.extend((BASE + HEADERS as u64).to_le_bytes()); // entry
    file.extend(64u64.to_le_bytes()); // program header behind this one
    file.extend(0u64.to_le_bytes()); // no sections
    file.extend(0u32.to_le_bytes()); // flags
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes()); // sizes and counts of headers
    }
    file.extend(1u32.to_le_bytes()); // load
    file.extend(5u32.to_le_bytes()); // read, execute
    for word in [0, BASE, BASE, size, size, 0x1_0000] {
        file.extend(word.to_le_bytes()); // offset, addresses, sizes, alignment
    }
    file.extend(body);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_stands_where_the_code_looks_for_it() {
        for (architecture, code) in [("amd64", x86_64(3).len()), ("arm64", aarch64(3).len())] {
            let file = executable(architecture, "hi\n").unwrap();
            assert_eq!(&file[HEADERS + code..], b"hi\n");
        }
        assert_eq!((x86_64(3).len(), aarch64(3).len()), (33, 32), "the offsets in the code count on it");
        assert_eq!(executable("riscv64", "hi\n"), None);
    }

    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    #[test]
    fn it_runs() {
        use std::os::unix::fs::PermissionsExt as _;

        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, executable(architecture, "Hello, kernel.\n").unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // A child that another test starts just now may hold the fresh file open for writing.
        let run = || std::process::Command::new(&path).output();
        let output = (0..50)
            .find_map(|_| match run() {
                Err(busy) if busy.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    None
                }
                other => Some(other.unwrap()),
            })
            .expect("the file does not stay busy");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "Hello, kernel.\n");
        assert_eq!(output.status.code(), Some(0));
    }
}
