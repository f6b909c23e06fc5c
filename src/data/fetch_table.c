/* SPDX-License-Identifier: Apache-2.0 */
/* Where the public sets are published, and the checksums their publishers, or the libraries that have long served them, give.
 */
#include "data/fetch.h"

#include <string.h>

#define IDX_FILES(a, b, c, d)                                                                                     \
    {                                                                                                             \
        {"train-images-idx3-ubyte.gz", FUL__DIGEST_MD5, a}, {"train-labels-idx1-ubyte.gz", FUL__DIGEST_MD5, b},   \
            {"t10k-images-idx3-ubyte.gz", FUL__DIGEST_MD5, c}, {"t10k-labels-idx1-ubyte.gz", FUL__DIGEST_MD5, d}, \
        {                                                                                                         \
            NULL                                                                                                  \
        }                                                                                                         \
    }

static const ful__fetch_set sets[] = {
    {"cifar10",
     "https://www.cs.toronto.edu/~kriz/",
     NULL,
     NULL,
     {{"cifar-10-binary.tar.gz", FUL__DIGEST_MD5, "c32a1d4ab5d03f1284b67883e8d87530"}, {NULL}}},
    {"cifar100",
     "https://www.cs.toronto.edu/~kriz/",
     NULL,
     NULL,
     {{"cifar-100-binary.tar.gz", FUL__DIGEST_SHA256, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
      {NULL}}},
    {"mnist", "https://ossci-datasets.s3.amazonaws.com/mnist/", NULL, NULL,
     IDX_FILES("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432", "9fb629c4189551a2d022fa330f9573f3",
               "ec29112dd5afa0611ce80d1b7f02629c")},
    {"fashion-mnist", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", NULL, NULL,
     IDX_FILES("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe", "bef4ecab320f06d8554ea6380940ec79",
               "bb300cfdad3c16e7a12a480ee83cd310")},
    {"kmnist", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/", NULL, NULL,
     IDX_FILES("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344", "5c965bf0a639b31b8f53240b1b52f4d7",
               "7320c461ea6c1c855c0b718fb2a4b134")},
    {"emnist",
     "https://biometrics.nist.gov/cs_links/EMNIST/",
     NULL,
     "unzip gzip.zip in that folder, then data.name=emnist reads it",
     {{"gzip.zip", FUL__DIGEST_MD5, "58c8d27c78d21e728a6bc7b3cc06412e"}, {NULL}}},
    {"tiny-imagenet",
     "http://cs231n.stanford.edu/",
     NULL,
     "unzip tiny-imagenet-200.zip in that folder, then data.name=tiny-imagenet reads it",
     {{"tiny-imagenet-200.zip", FUL__DIGEST_MD5, "90528d7ca1a48142e341f4ef8d21d0de"}, {NULL}}},
    {"imagenet",
     NULL,
     "its archives are given only to people who have registered and accepted the terms: log in at "
     "https://image-net.org/download-images and take ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the development kit; "
     "put "
     "them side by side, data.name=imagenet reads them without unpacking. With --from, a mirror of your own serves",
     "the validation images need their list beside them: ILSVRC2012_validation_ground_truth.txt of the development kit, and "
     "map_clsloc.txt",
     {{"ILSVRC2012_img_train.tar", FUL__DIGEST_MD5, "1d675b47d978889d74fa0da5fadfb00e"},
      {"ILSVRC2012_img_val.tar", FUL__DIGEST_MD5, "29b22e2961454d5413ddabcf34fc5622"},
      {NULL}}},
};

const ful__fetch_set *ful__fetch_find(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (strcmp(sets[i].name, name) == 0) return &sets[i];
    }
    return NULL;
}
