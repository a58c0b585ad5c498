/* SPDX-License-Identifier: MIT */
/* policy-keys.c: prints every configuration key, "SECTION KEY DEFAULT", for the comparison with the manual. */
#include <stdio.h>

#include "capd/policy/policy.h"

int main(void)
{
        for (const struct policy_key *k = policy_keys; k->section; k++)
                printf("%s %s %s\n", k->section, k->name, k->fallback ? k->fallback : "");
        return 0;
}
