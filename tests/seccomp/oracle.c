/*
 * What libseccomp makes of seccomp rules, for the differential test: it reads profiles from standard input, one
 * word after the other, and writes each one's BPF program to standard output.
 *
 *   profile DEFAULT OPTIMIZE ARCH... end       a filter; actions are the kernel's words in hex, the first
 *                                              architecture is the machine's
 *   rule ACTION NAME COUNT [INDEX OP A B]...   a rule; OP is enum scmp_compare
 *   end                                        the program is wanted
 *
 * The answer to each profile is two words of 32 bits, the negated errno of the first rule that libseccomp refused
 * (ETIME where it did not come back, or 0) and the number of instructions, and then the instructions. With the
 * argument "names" it reads nothing and
 * lists the calls that libseccomp knows, "ARCH NUMBER NAME" a line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "oracle: %s\n", what);
	exit(1);
}

static void list(const char *name, uint32_t first, uint32_t last)
{
	uint32_t arch = seccomp_arch_resolve_name(name);

	for (uint32_t number = first; number <= last; number++) {
		char *call = seccomp_syscall_resolve_num_arch(arch, (int)number);

		if (call)
			printf("%s %" PRIu32 " %s\n", name, number, call);
		free(call);
	}
}

static int names(void)
{
	list("x86_64", 0, 1023);
	list("x86", 0, 1023);
	list("x32", 0x40000000, 0x40000000 + 1023);
	list("aarch64", 0, 1023);
	list("arm", 0, 1023);
	list("arm", 0xf0000, 0xf00ff);
	list("riscv64", 0, 1023);
	return 0;
}

static int add_rule(FILE *profile, scmp_filter_ctx filter)
{
	struct scmp_arg_cmp conditions[6];
	char name[64];
	uint32_t action;
	unsigned int count;

	if (fscanf(profile, "%" SCNx32 " %63s %u", &action, name, &count) != 3 || count > 6)
		die("a rule that is no rule");
	for (unsigned int i = 0; i < count; i++) {
		unsigned int index, op;
		uint64_t a, b;

		if (fscanf(profile, "%u %u %" SCNx64 " %" SCNx64, &index, &op, &a, &b) != 4)
			die("a condition that is no condition");
		conditions[i] = (struct scmp_arg_cmp){ index, op, a, b };
	}
	return seccomp_rule_add_array(filter, action, seccomp_syscall_resolve_name(name), count, conditions);
}

static scmp_filter_ctx start(FILE *profile)
{
	scmp_filter_ctx filter;
	uint32_t action, arch, machine = 0;
	int optimize;
	char word[64];

	if (fscanf(profile, "profile %" SCNx32 " %d", &action, &optimize) != 2)
		die("a profile without a default");
	filter = seccomp_init(action);
	if (!filter || seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, (uint32_t)optimize))
		die("seccomp_init");
	while (fscanf(profile, "%63s", word) == 1 && strcmp(word, "end")) {
		arch = seccomp_arch_resolve_name(word);
		if (!arch)
			die("an unknown architecture");
		if (seccomp_arch_exist(filter, arch) && seccomp_arch_add(filter, arch))
			die("seccomp_arch_add");
		if (!machine && arch != seccomp_arch_native() && seccomp_arch_remove(filter, seccomp_arch_native()))
			die("seccomp_arch_remove");
		machine = arch;
	}
	return filter;
}

/* Reads the rest of a profile, whose first line is given, and writes its program into the file. */
static int compile(FILE *profile, int fd)
{
	scmp_filter_ctx filter = start(profile);
	char word[64];
	int rc = 0;

	while (!rc && fscanf(profile, "%63s", word) == 1 && !strcmp(word, "rule"))
		rc = add_rule(profile, filter);
	return rc ? rc : seccomp_export_bpf(filter, fd);
}

/* libseccomp never comes back from some profiles, so each has a process of its own. */
static void answer(char *text, size_t length)
{
	static char program[1 << 20];
	int fd = memfd_create("program", 0), status, refusal = 0;
	ssize_t size;
	uint32_t count;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (fd < 0 || child < 0)
		die("fork");
	if (!child) {
		alarm(2);
		_exit(-compile(fmemopen(text, length, "r"), fd));
	}
	if (waitpid(child, &status, 0) < 0)
		die("waitpid");
	refusal = WIFSIGNALED(status) ? -ETIME : -WEXITSTATUS(status);
	size = refusal ? 0 : pread(fd, program, sizeof(program), 0);
	close(fd);
	count = (uint32_t)size / 8;
	fwrite(&refusal, 4, 1, stdout);
	fwrite(&count, 4, 1, stdout);
	fwrite(program, 8, count, stdout);
}

int main(int argc, char **argv)
{
	char *text = NULL, *line = NULL;
	size_t length = 0, size = 0;
	ssize_t read;

	if (argc == 2 && !strcmp(argv[1], "names"))
		return names();
	/* All actions, whatever kernel the test runs on. */
	if (seccomp_api_set(6))
		die("seccomp_api_set");
	while ((read = getline(&line, &size, stdin)) > 0) {
		text = realloc(text, length + (size_t)read);
		memcpy(text + length, line, (size_t)read);
		length += (size_t)read;
		if (!strcmp(line, "end\n")) {
			answer(text, length);
			length = 0;
		}
	}
	return 0;
}
