/* SPDX-License-Identifier: MIT */
/*
 * replay.c: main() for a fuzz target without libFuzzer. It gives every file named on the command line, or found in a
 * folder that is, to LLVMFuzzerTestOneInput(), so that the corpus is a test in every build and with every compiler:
 *
 *     executable('replay-config', 'config.c', 'replay.c', …)
 *     test('replay-config', …, args : files or folders, suite : 'fuzz')
 *
 * To look into a finding of the fuzzer: replay-config crash-da39a3ee
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
        struct stat st;
        uint8_t *data;
        size_t n;
        FILE *f = fopen(path, "re");

        if (!f || fstat(fileno(f), &st) < 0) {
                perror(path);
                return -1;
        }
        /* exactly as many bytes as there are, so that a sanitizer sees a read beyond them */
        data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
        if (!data)
                abort();
        n = fread(data, 1, (size_t)st.st_size, f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, n);
        free(data);
        return 0;
}

/* Inputs run, or -1. */
static int replay(const char *path)
{
        struct dirent *entry;
        int total = 0;
        DIR *dir = opendir(path);

        if (!dir)
                return replay_file(path) < 0 ? -1 : 1;
        while (total >= 0 && (entry = readdir(dir))) {
                char name[4096];

                if (entry->d_name[0] == '.')
                        continue;
                snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
                total = replay_file(name) < 0 ? -1 : total + 1;
        }
        closedir(dir);
        return total;
}

int main(int argc, char **argv)
{
        int total = 0;

        for (int i = 1; i < argc; i++) {
                int n = replay(argv[i]);

                if (n < 0)
                        return EXIT_FAILURE;
                total += n;
        }
        if (total == 0) {
                fprintf(stderr, "%s: no inputs\n", argv[0]);
                return EXIT_FAILURE;
        }
        printf("%d inputs\n", total);
        return EXIT_SUCCESS;
}
