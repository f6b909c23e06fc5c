/* SPDX-License-Identifier: Apache-2.0 */
/* The word that was meant. */
#include <fulcrum/core.h>
#include <string.h>

enum { LONGEST = 40, FAR = 99 };

/* Levenshtein distance; FAR for texts that are too long to be a slip of the finger. */
static int distance(const char *a, const char *b)
{
    int row[LONGEST + 1];
    const int n = (int)strnlen(a, LONGEST + 1), m = (int)strnlen(b, LONGEST + 1);
    if (n > LONGEST || m > LONGEST) return FAR;
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            const int change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            const int gap = (row[j - 1] < row[j] ? row[j - 1] : row[j]) + 1;
            row[j] = change < gap ? change : gap;
        }
    }
    return row[m];
}

const char *ful_word_nearest(const char *given, const char *const *words)
{
    const char *best = NULL;
    int least = FAR;
    for (; *words; words++) {
        const int d = distance(given, *words);
        if (d >= least || 3 * d > (int)strlen(*words) + 2) continue;
        best = *words;
        least = d;
    }
    return best;
}
