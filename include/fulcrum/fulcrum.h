/* SPDX-License-Identifier: Apache-2.0 */
/* All of Fulcrum: #include <fulcrum/fulcrum.h>, link with -lfulcrum. */
#ifndef FULCRUM_FULCRUM_H
#define FULCRUM_FULCRUM_H

#include <fulcrum/core.h>
#include <fulcrum/corrupt.h>
#include <fulcrum/data.h>
#include <fulcrum/graph.h>
#include <fulcrum/judge.h>
#include <fulcrum/moe.h>
#include <fulcrum/net.h>
#include <fulcrum/ops.h>
#include <fulcrum/optim.h>
#include <fulcrum/stats.h>
#include <fulcrum/status.h>
#include <fulcrum/study.h>
#include <fulcrum/train.h>

#endif
