/* SPDX-License-Identifier: MIT */
/* load-files.c: from files as they were read to a policy, and problems as they are shown. */
#include <errno.h>

#include "capd/policy/policy.h"

int policy_load_files(const struct conf_files *files, const struct policy_world *world, struct policy **ret,
                      struct policy_problems *problems)
{
        _cleanup_free_ struct policy_text *texts = calloc(files->n + 1, sizeof(*texts));
        _cleanup_(policy_freep) struct policy *policy = NULL;
        size_t n = 0;
        int r;

        if (!texts)
                return -ENOMEM;
        for (size_t i = 0; i < files->n; i++) {
                const struct conf_file *f = &files->items[i];

                if (!f->problem)
                        texts[n++] = (struct policy_text){.name = f->name, .text = f->text, .size = f->size};
                else if (policy_problems_add(problems, f->name, 0, "%s", f->problem) < 0)
                        return -ENOMEM;
        }
        r = policy_load(texts, n, world, &policy, problems);
        if (r < 0)
                return r;
        if (problems->n > 0)
                return -EBADMSG; /* the texts are right, but not all there */
        *ret = TAKE_PTR(policy);
        return 0;
}

void policy_problems_print(const struct policy_problems *p, FILE *f)
{
        for (size_t i = 0; i < p->n; i++) {
                const struct policy_problem *x = &p->items[i];

                if (x->line > 0)
                        fprintf(f, "%s:%u: %s\n", x->file, x->line, x->message);
                else
                        fprintf(f, "%s: %s\n", x->file, x->message);
        }
        if (p->n_dropped > 0)
                fprintf(f, "and %zu more problems\n", p->n_dropped);
}
