/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves the shared library. Every public function carries FUL_API; all else is hidden. */
#ifndef FULCRUM_EXPORT_H
#define FULCRUM_EXPORT_H

#if defined(__GNUC__)
#define FUL_API               __attribute__((visibility("default")))
#define FUL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define FUL_CHECK_RESULT      __attribute__((warn_unused_result))
#else
#define FUL_API
#define FUL_PRINTF(fmt, args)
#define FUL_CHECK_RESULT
#endif

#endif
